"""When one process of several is gone the others end with its name; whoever ends in order alarms nobody."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.running.liveness import Beats, silence


ROOT = Path(__file__).parents[2]
SILENCE = 2.0


def listening(limit: float, ranks=(1, 2)):
    """Beats, and a function that lets seconds pass in which these processes beat; it returns what `loss` says."""
    beats, clock = Beats(ranks, limit, 0.0), [0.0]

    def after(seconds: int, alive=(), answers=True) -> str | None:
        for _ in range(seconds):
            clock[0] += 1
            if answers:
                beats.hear({rank: b"%d" % clock[0] for rank in alive}, clock[0])
            if loss := beats.loss(clock[0]):
                return f"{clock[0]:.0f}: {loss}"
        return None

    return beats, after


def test_the_first_second_beyond_the_limit_is_a_loss():
    _, after = listening(30)
    assert after(100, alive=(1, 2)) is None
    assert after(30, alive=(1,)) is None
    assert after(1, alive=(1,)) == "131: process 2 is gone: no sign of life for 30 s"


def test_a_process_that_never_beats_is_a_loss_and_one_that_beats_late_is_none():
    _, after = listening(10)
    assert after(9, alive=(1,)) is None and after(9, alive=(2,)) is None
    assert after(50, alive=(2,)).startswith("20: process 1 is gone")


def test_a_store_without_answers_is_the_loss_of_process_0():
    _, after = listening(10)
    assert after(5, alive=(1, 2)) is None
    assert after(50, answers=False).startswith("16: process 0 is gone")


@pytest.mark.parametrize("farewell", [b"done", b"released"])
def test_who_has_said_farewell_may_be_silent(farewell):
    beats, after = listening(10)
    after(1, alive=(1, 2))
    assert not beats.have_done([1, 2])
    beats.hear({1: farewell}, 2.0)
    assert beats.have_done([1]) and not beats.have_done([1, 2])
    assert after(100, alive=(2,)) is None
    assert "process 2" in after(100)


def test_who_has_stood_still_itself_gives_the_others_their_full_time_again():
    beats, _ = listening(10)
    for second in range(4):
        assert beats.loss(second) is None
    assert beats.loss(1000.0) is None  # suspended meanwhile
    for second in range(1000, 1011):
        beats.hear({}, second)
        assert beats.loss(second) is None
    assert "process 1" in beats.loss(1010.5)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "soon"])
def test_seconds_that_are_none_are_refused(monkeypatch, text):
    monkeypatch.setenv("LM_EVAL_MDLM_SILENCE_S", text)
    with pytest.raises(UsageError, match="LM_EVAL_MDLM_SILENCE_S must be a number of seconds above 0, got"):
        silence()


BEGIN = """
import os, sys, time
from lm_eval_mdlm.running.processes import ProcessGroup
rank = int(os.environ["RANK"])
group = ProcessGroup()
print("ready", flush=True)
"""


@pytest.fixture
def launch():
    """Starts processes as somebody does by hand; returns them when all have met in a group."""
    started: list[subprocess.Popen[str]] = []

    def launch(code: str, world: int = 2) -> list[subprocess.Popen[str]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        given = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
        given |= {"ACCELERATE_USE_CPU": "true", "LM_EVAL_MDLM_SILENCE_S": str(SILENCE)}
        command = [sys.executable, "-c", BEGIN + textwrap.dedent(code)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        for rank in range(world):
            env = os.environ | given | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            started.append(subprocess.Popen(command, env=env, cwd=ROOT, **pipes))
        assert [process.stdout.readline() for process in started] == ["ready\n"] * world
        return started

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def end_of(process: subprocess.Popen[str], seconds: float) -> tuple[int, str]:
    """Exit code and errors of a process that ends within so many seconds."""
    _, errors = process.communicate(timeout=seconds)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_who_waits_for_a_process_that_is_gone_ends_with_its_name(launch, lost, how):
    wait = "group.barrier()\nif rank == {}:\n    time.sleep(1000)\ngroup.gather_object('x' * 100, dst={})"
    processes = launch(wait.format(lost, 1 - lost))
    time.sleep(1.5)  # well into the wait
    os.kill(processes[lost].pid, how)
    code, errors = end_of(processes[1 - lost], 3 * SILENCE + 3)
    assert code == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("lm_eval_mdlm: error: ")]
    assert line.startswith(f"lm_eval_mdlm: error: process {lost} is gone: ") and "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["raise ValueError('on one side')", "os._exit(0)"])
def test_who_waits_for_a_process_that_failed_by_itself_ends_too(launch, failure):
    one, other = launch(f"group.barrier()\nif rank == 1:\n    {failure}\ntime.sleep(1000)")
    code, errors = end_of(one, 3 * SILENCE + 5)
    assert code == 1 and "error: process 1 is gone: no sign of life for 2 s" in errors
    assert end_of(other, 5)[0] == ("raise" in failure)


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_ends_at_different_times_alarm_nobody(launch, late):
    processes = launch(f"group.barrier()\ntime.sleep({3 * SILENCE} if rank == {late} else 0)\nprint('over')")
    early = end_of(processes[1 - late], 2 * SILENCE)
    assert [early, end_of(processes[late], 5 * SILENCE)] == [(0, "")] * 2


@pytest.mark.slow
def test_a_process_that_drops_its_group_keeps_the_store_until_the_others_have_ended(launch):
    drops = """
        import torch
        group.barrier()
        torch.distributed.destroy_process_group()
        del group
        time.sleep(rank * 4)
    """
    begin = time.monotonic()
    assert [end_of(process, 10 * SILENCE) for process in launch(drops)] == [(0, "")] * 2
    assert time.monotonic() - begin < 30


@pytest.mark.slow
def test_long_work_outside_python_is_no_silence(launch):
    busy = """
        import torch
        group.barrier()
        a, begin = torch.rand(1500, 1500), time.monotonic()
        while time.monotonic() - begin < 8:
            a = a @ a
        b = torch.rand(5500, 5500)
        begin = time.monotonic()
        b @ b  # one call that takes longer than the limit
        print(time.monotonic() - begin)
        group.barrier()
    """
    processes = launch(busy)
    outs = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outs
    assert all(float(out) > SILENCE for out, _ in outs)
