"""The process that compares answers: limits, and what happens when somebody ends it."""

import os
import signal
import threading
import time

import pytest

from lm_eval_mdlm.scoring import limited


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(limited, "CPU_SECONDS", 0.5)


@pytest.mark.parametrize(
    "box",
    [
        "9^{9^{9^9}}",  # one step of arithmetic that no signal handler of Python interrupts
        r"2^{10000000000}",
        r"\sum_{n=1}^{10^{9}} \sin(n)",
        "(" * 400 + "1" + ")" * 400,
    ],
)
def test_hostile_answer_is_wrong_and_the_next_is_judged(box):
    assert not limited.is_correct(rf"\boxed{{{box}}}", "5")
    assert limited.is_correct(r"\boxed{5}", "5") is True


def test_question_without_an_answer_in_time_is_told_apart_from_a_wrong_one():
    assert limited.is_correct(r"\boxed{2^{10000000000}}", "5") is None
    assert limited.is_correct(r"\boxed{6}", "5") is False


def test_process_that_was_ended_is_replaced():
    assert limited.is_correct(r"\boxed{5}", "5")
    before = limited._running().process
    os.kill(before.pid, signal.SIGKILL)
    before.wait()
    assert limited.is_correct(r"\boxed{5}", "5")
    assert limited._running().process.pid != before.pid


def test_process_that_cannot_run_is_reported_with_the_way_to_see_why(monkeypatch):
    limited._stop()
    monkeypatch.setattr(limited, "_MODULE", "lm_eval_mdlm.scoring.nothing")
    with pytest.raises(RuntimeError, match="python -m lm_eval_mdlm.scoring.nothing fails here"):
        limited.is_correct(r"\boxed{5}", "5")


def test_any_thread_may_ask_and_gets_its_own_answer():
    answers = {}

    def ask(number):
        answers[number] = limited.is_correct(rf"\boxed{{{number % 3}}}", "1")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: number % 3 == 1 for number in range(12)}


def test_a_forked_process_leaves_its_parents_alone():
    assert limited.is_correct(r"\boxed{5}", "5")
    parents = limited._running().process
    child = os.fork()
    if child == 0:
        right = limited.is_correct(r"\boxed{5}", "5") and limited._running().process.pid != parents.pid
        limited._stop()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert limited.is_correct(r"\boxed{5}", "5")
    assert limited._running().process is parents


def test_process_ends_with_the_one_that_asks():
    comparer = limited._Comparer()
    assert comparer.process.stdin
    comparer.process.stdin.close()
    assert comparer.process.wait(timeout=30) == 0
    assert comparer.process.stdout
    comparer.process.stdout.close()


def test_text_of_any_characters_reaches_the_process():
    assert limited.is_correct("\ud800\0\u2028\n\\boxed{5}\r\n", "5") is True


def test_wall_time_ends_a_child_that_does_nothing(monkeypatch):
    monkeypatch.setattr(limited, "WALL_SECONDS", 0.01)
    started = time.monotonic()
    assert limited.is_correct(r"\boxed{2^{10000000000}}", "5") is None
    assert time.monotonic() - started < 20
