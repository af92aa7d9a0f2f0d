"""Checks that run many at a time."""

import os
import threading
import time

import pytest

from lm_eval_mdlm.scoring import sandbox, starting
from lm_eval_mdlm.scoring.sandbox import Check, Executions, Limits, run_checks

from .programs import RIGHT, TEST, WRONG


def check(program: str) -> Check:
    return Check(program=program, entry_point="f", test=TEST)


def sleeping(seconds: float, number: int = 0) -> Check:
    return check(f"import time  # {number}\ntime.sleep({seconds})" + RIGHT)


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_verdicts_come_in_the_order_of_the_checks():
    checks = [sleeping(0.6), check(WRONG), check(RIGHT), sleeping(0.3), check(RIGHT)]
    found = run_checks(checks, num_workers=3)
    assert [verdict.status for verdict in found] == ["passed", "failed", "passed", "passed", "passed"]
    assert run_checks([]) == []


def test_as_many_run_at_a_time_as_there_are_workers(monkeypatch):
    running, most, lock, before = 0, [], threading.Lock(), starting.Starter.check

    def counting(self, check):
        nonlocal running
        with lock:
            running += 1
            most.append(running)
        try:
            return before(self, check)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(starting.Starter, "check", counting)
    run_checks([sleeping(0.5, number) for number in range(6)], num_workers=3)
    assert max(most) == 3
    most.clear()
    run_checks([sleeping(0.1, number) for number in range(3)], num_workers=1)
    assert max(most) == 1


def test_workers_are_bounded_by_cores_launchers_and_open_files(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(96)})
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    assert sandbox._default_num_workers() == 51
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert sandbox._default_num_workers() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "200")
    assert sandbox._default_num_workers() == 1
    with pytest.raises(ValueError, match="num_workers must be at least 1, got 0"):
        Executions(num_workers=0)


def test_checks_run_before_their_verdicts_are_asked_for():
    executions = Executions(num_workers=2)
    executions.begin([sleeping(1, 1), sleeping(1, 2)])
    wait_until(lambda: all(future.done() for future in executions._futures.values()))
    started = time.monotonic()
    assert executions.verdict(sleeping(1, 1)).status == executions.verdict(sleeping(1, 2)).status == "passed"
    assert time.monotonic() - started < 0.5
    assert executions.verdict(check(WRONG)).status == "failed"  # never begun


def test_more_checks_may_begin_at_any_time_and_equal_ones_are_asked_for_as_often_as_begun():
    executions = Executions(num_workers=2)
    executions.begin([check(RIGHT), check(RIGHT)])
    assert executions.verdict(check(RIGHT)).status == "passed"
    executions.begin([check(WRONG), check(RIGHT)])
    assert [executions.verdict(check(text)).status for text in (RIGHT, RIGHT, WRONG)] == ["passed", "passed", "failed"]
    assert executions._futures == {}


def test_a_starter_that_is_killed_costs_at_most_its_own_check():
    with starting.Starter(Limits()) as starter:
        assert starter.check(check(RIGHT)).status == "passed"
        assert starter._process
        starter._process.kill()
        assert starter.check(check(RIGHT)).status == "passed"


def test_programs_that_cannot_be_confined_are_not_run(monkeypatch):
    monkeypatch.setattr(starting, "STARTER", "lm_eval_mdlm.scoring.isolated.nothing")
    with pytest.raises(RuntimeError, match="the sandbox gave no verdict: .*No module named"):
        run_checks([check(RIGHT)])


def test_no_descriptor_and_no_thread_is_left():
    run_checks([check(RIGHT)])
    before = None
    for _ in range(3):
        run_checks([check(RIGHT), check(WRONG)], num_workers=2)
        wait_until(lambda: all(thread.name != "sandbox" for thread in threading.enumerate()))
        now = sorted(os.listdir("/proc/self/fd"))
        assert before in (None, now)
        before = now
