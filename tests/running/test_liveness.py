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
from lm_eval_mdlm.running.processes import ProcessGroup
from lm_eval_mdlm.training.launch import Launch


ROOT = Path(__file__).parents[2]
SILENCE, MEETING = 2.0, 8.0
BEGIN = """
import os, sys, time
from lm_eval_mdlm.running import processes
rank = int(os.environ["RANK"])
"""
MEET = """
group = processes.ProcessGroup()
print("ready", flush=True)
"""


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture
def launch():
    """Starts processes as somebody does by hand; returns them when all have met in a group.

    `before` is what they do before they meet; with it they are returned at once.
    """
    started: list[subprocess.Popen[str]] = []

    def launch(code: str = "", world: int = 2, before: str = "", **more: str) -> list[subprocess.Popen[str]]:
        given = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": free_port(),
            "WORLD_SIZE": str(world),
            "OMP_NUM_THREADS": "1",
        }
        given |= {"ACCELERATE_USE_CPU": "true", "LM_EVAL_MDLM_SILENCE_S": str(SILENCE)}
        given |= {"LM_EVAL_MDLM_MEETING_S": str(MEETING), **more}
        command = [sys.executable, "-c", BEGIN + textwrap.dedent(before) + MEET + textwrap.dedent(code)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        for rank in range(world):
            env = os.environ | given | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            started.append(subprocess.Popen(command, env=env, cwd=ROOT, **pipes))
        if not before:
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


def line_of(process: subprocess.Popen[str], seconds: float) -> str:
    """The one line of a process that gives up within so many seconds."""
    code, errors = end_of(process, seconds)
    assert code == 1 and "Traceback" not in errors, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("lm_eval_mdlm: ")]
    return line.removeprefix("lm_eval_mdlm: error: ")


START = 30.0
"""Seconds that a process may take to import what it needs."""


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_who_waits_for_a_process_that_never_comes_ends_with_its_name(launch, late):
    processes = launch(before=f"if rank == {late}:\n    time.sleep(1000)")
    line = line_of(processes[1 - late], START + MEETING)
    if late == 0:  # which would have kept the store
        assert line.startswith("process 0 has not come: nothing has answered at 127.0.0.1:")
        assert line.endswith(" for 8 s, and process 1 does not go on without it.")
    else:
        assert line == "process 1 has not come: no sign of life for 8 s, and process 0 does not go on without it."


@pytest.mark.slow
def test_a_training_ends_too_when_a_process_never_comes(launch):
    forms = """
        def form():
            from torch import distributed
            from lm_eval_mdlm.training.launch import Launch
            with Launch.current().forming():
                distributed.init_process_group("gloo")
        processes.ProcessGroup = form
        if rank == 1:
            time.sleep(1000)
    """
    processes = launch(before=forms)
    line = line_of(processes[0], START + MEETING)
    assert line == "process 1 has not come: no sign of life for 8 s, and process 0 does not go on without it."


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_who_waits_for_a_process_that_stops_while_the_group_is_formed_ends_with_its_name(launch, lost):
    stops = """
        def stop(**options):
            time.sleep(5)
            os.kill(os.getpid(), 19)
        if rank == {}:
            processes.Accelerator = stop
    """
    processes = launch(before=textwrap.dedent(stops).format(lost), LM_EVAL_MDLM_MEETING_S="1000")
    line = line_of(processes[1 - lost], START + 5 + 3 * SILENCE)
    assert line.startswith(f"process {lost} is gone: ")


@pytest.mark.slow
def test_processes_that_come_and_never_reach_each_other_end(launch):
    hangs = """
        def hang(**options):
            time.sleep(1000)
        if rank == 1:
            processes.Accelerator = hang
    """
    both = launch(before=textwrap.dedent(hangs))
    lines = [line_of(process, START + 2 * MEETING) for process in both]
    # One of them is the first to give up, and may be gone for the other.
    assert any(
        line.startswith("no network between the processes was found in 8 s (GLOO_SOCKET_IFNAME, ") for line in lines
    )


@pytest.mark.slow
def test_a_process_that_comes_late_is_waited_for(launch):
    processes = launch("print('over')", before=f"if rank == 1:\n    time.sleep({2 * SILENCE})")
    assert [end_of(process, START + MEETING) for process in processes] == [(0, "")] * 2


@pytest.mark.slow
def test_counters_of_processes_that_a_launcher_starts_anew_begin_at_0_in_the_same_store(launch):
    again = """
        import itertools
        values = []
        for attempt in range(2):
            processes._numbers = itertools.count()  # as in a new process
            group = processes.ProcessGroup()
            counters = group.counters()
            group.barrier()
            counters.add("drawn", 1)
            group.barrier()
            values.append(counters.add("drawn", 0))
            group.barrier()
        print(values)
    """
    outs = [process.communicate(timeout=START) for process in launch(again)]
    assert outs == [("[2, 2]\n", "")] * 2


@pytest.mark.slow
def test_processes_that_go_on_after_an_error_before_they_had_met_watch_each_other(launch):
    fails = """
        from lm_eval_mdlm.errors import UsageError
        try:
            with processes.watch_processes().forming():
                raise UsageError("an option that is wrong in all processes")
        except UsageError:
            pass
    """
    one, _ = launch("if rank == 1:\n    os.kill(os.getpid(), 19)\ngroup.barrier()", before=fails)
    assert line_of(one, START + 4 * SILENCE).startswith("process 1 is gone: no sign of life for 2 s")


@pytest.fixture
def environment(monkeypatch):
    """What a launcher would have set, but for a port where somebody else listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1]), "RANK": "0", "WORLD_SIZE": "2"}
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("LM_EVAL_MDLM_MEETING_S", "1")
        monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
        yield monkeypatch


def test_an_environment_that_does_not_say_which_process_this_is_is_refused_in_one_line(environment):
    environment.delenv("MASTER_ADDR")
    for begin in (ProcessGroup, Launch.current):
        with pytest.raises(UsageError, match="MASTER_ADDR, .*, WORLD_SIZE in the environment, got no MASTER_ADDR;"):
            begin()


@pytest.mark.parametrize(
    ("name", "value", "numbers"),
    [
        *(("RANK", value, "from 0 to 1") for value in ("x", "2", "-1")),
        *(("WORLD_SIZE", value, "from 1 to") for value in ("", "x", "0", "1.5")),
        *(("MASTER_PORT", value, "from 1 to 65535") for value in ("http", "0", "65536")),
    ],
)
def test_numbers_of_a_launcher_that_are_none_are_refused_in_one_line(environment, name, value, numbers):
    environment.setenv(name, value)
    for begin in (ProcessGroup, Launch.current):
        with pytest.raises(UsageError, match=f"{name} in the environment must be a whole number {numbers}") as told:
            begin()
        assert f"got {value!r};" in str(told.value)


@pytest.mark.parametrize(
    ("host", "taken", "reason"), [("127.0.0.1", True, "in use"), ("no.invalid", False, "timed out")]
)
def test_where_process_0_cannot_keep_the_store_is_told_in_one_line(environment, host, taken, reason):
    if not taken:
        environment.setenv("MASTER_PORT", free_port())
    environment.setenv("MASTER_ADDR", host)
    with pytest.raises(UsageError) as told:
        ProcessGroup()
    line = str(told.value)
    assert line.startswith(f"MASTER_ADDR={host} and MASTER_PORT={os.environ['MASTER_PORT']} must be an address of ")
    assert reason in line and line.endswith("; name others.")


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
