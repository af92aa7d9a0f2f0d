"""The process that runs a benchmark's test on a program that runs in another.

The program can reach neither the test nor the pipe on which the verdict is given, and a result that would claim to
equal anything arrives as plain data or as a stand-in that equals only itself.
"""

import contextlib
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from .exchange import MAX_REASON_CHARACTERS, Channel, describe
from .kernel import CLONE_NEWPID, CLONE_NEWUSER, PR_SET_DUMPABLE, PR_SET_PDEATHSIG, lower_limit, prctl, unshare
from .peer import Gone, Peer
from .stand_ins import READING
from .threads import decide, take_over_decision
from .worker import serve


SEED = 0
"""Of `random` in the test, for tests that draw inputs without a seed of their own."""
SPARE_MEMORY_BYTES = 1 << 30  # for the test's own values beside copies of the program's
SPARE_CPU_SECONDS = 10
MAX_ALARMS = 3  # a second apart, until a test that catches everything is given up

Outcome = tuple[str, str]
"""Status and reason of a verdict."""


class TimeUp(Gone):
    """The limit of time was reached."""


class Program:
    """The process of a program, from the judge's side."""

    def __init__(self) -> None:
        requests, replies, (ours, theirs) = os.pipe(), os.pipe(), socket.socketpair()
        self._process = os.fork()
        if self._process == 0:
            try:
                serve(Channel(requests[0], replies[1]), theirs)
            finally:
                os._exit(1)
        for descriptor in (requests[0], replies[1]):
            os.close(descriptor)
        theirs.close()
        self._announcer = ours
        self._listener: int | None = None
        self._peer = Peer(Channel(replies[0], requests[1], self._wait), first_handle=0, operations=READING, commands={})

    @property
    def over(self) -> str | None:
        """Why no more can be had of it; None while it answers."""
        return self._peer.over

    def confine(self, limits: dict[str, Any], libraries: list[str]) -> dict[str, Any]:
        """Take its rights away; what that has reached. Any exception means that nothing may be run."""
        found: dict[str, Any] = self._peer.ask("confine", limits["cpu_seconds"], limits["memory_bytes"], libraries)
        self._listener = take_over_decision(self._announcer)
        self._announcer.close()
        return found

    def define(self, program: str, entry_point: str) -> Callable[..., Any]:
        """Let it define its function, and return that."""
        function: Callable[..., Any] = self._peer.ask("define", program, entry_point)
        return function

    def end(self, cpu_seconds: int) -> Outcome:
        """Kill and reap it; how it had ended before, if it had."""
        os.kill(self._process, signal.SIGKILL)
        _, status, usage = os.wait4(self._process, 0)
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else ""
        # At its limit the kernel sends SIGKILL, as this does here to one that has only closed its pipes. The clock of
        # the limit counts ticks, that of the account runs exactly: on a busy machine they differ by a good part.
        spent = usage.ru_utime + usage.ru_stime > cpu_seconds / 2
        if name == "SIGXCPU" or (name == "SIGKILL" and spent):
            return "timed out", f"{cpu_seconds} s of processor time"
        if name:
            return "failed", f"the program was ended by {name}"
        return "failed", f"the program exited with status {os.WEXITSTATUS(status)} before the test was over"

    def _wait(self, source: int) -> None:
        """Until there is something to read, decide about new threads."""
        while self._listener is not None:
            poll = select.poll()
            poll.register(source, select.POLLIN)
            poll.register(self._listener, select.POLLIN)
            ready = dict(poll.poll())
            if ready.get(self._listener, 0) & select.POLLIN:
                decide(self._listener, self._process)
            elif self._listener in ready:  # the program has ended
                os.close(self._listener)
                self._listener = None
            if source in ready:
                return


def judge_program(
    job: dict[str, Any], program: Program, limits: dict[str, Any], give_up: Callable[[Outcome], None]
) -> Outcome:
    """Whether `check`, called with the program's function, returns within the limits.

    `give_up` is called, and must not return, if the test cannot be stopped otherwise.
    """
    outcome = "failed", ""
    late = "timed out", f"{limits['wall_seconds']:g} s"
    num_alarms = 0

    def expire(*_: Any) -> None:
        nonlocal num_alarms
        num_alarms += 1
        if num_alarms == MAX_ALARMS:
            give_up(late)
        raise TimeUp

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, limits["wall_seconds"], 1.0)
    with contextlib.suppress(TimeUp):
        outcome = _outcome(job, program)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if num_alarms:
        return late
    if program.over is None:
        return outcome
    status, reason = program.end(limits["cpu_seconds"])
    return status, reason if status == "timed out" or program.over == Peer.ENDED else program.over


def _outcome(job: dict[str, Any], program: Program) -> Outcome:
    names: dict[str, Any] = {"__name__": "test"}
    random.seed(SEED)
    try:
        exec(compile(job["setup"], "<setup>", "exec"), names)
        exec(compile(job["test"], "<test>", "exec"), names)
        check = names["check"]
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(SEED)
    except Exception as error:
        return "error", f"the benchmark's test is broken, {describe(error)}"
    try:
        candidate = program.define(job["program"], job["entry_point"])
        names[job["entry_point"]] = candidate  # some tests call it by its name
        check(candidate)
        return "passed", ""
    except Gone:
        return "failed", ""
    except BaseException as error:
        return "failed", f"{describe(error)} {_failing_line(error, job['test'])}"[:MAX_REASON_CHARACTERS].rstrip()


def _failing_line(error: BaseException, test: str) -> str:
    """The line of the test at which an exception came up."""
    frames = traceback.extract_tb(error.__traceback__, limit=-50)
    in_test = [frame.lineno for frame in frames if frame.filename == "<test>" and frame.lineno]
    return f"in: {test.splitlines()[in_test[-1] - 1].strip()}" if in_test else ""


def main(*, starter: int, job: int, report: int, limits: dict[str, Any], libraries: list[str]) -> None:
    """Start a program's process, read a job once that is confined, and report the verdict.

    Args:
        starter: Process that has started this one.
        job: Descriptor from which the job is read as JSON.
        report: Descriptor to which a line of JSON goes once the confinement stands, and then the verdict.
        limits: The fields of `sandbox.Limits`.
        libraries: Folders that the program may read.
    """
    alone = _enter_process_namespace()
    prctl(PR_SET_DUMPABLE, 0)  # closes this process's memory and pipes to others of its user
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:  # which died before the line above took effect
        return
    cpu, memory = limits["cpu_seconds"] + SPARE_CPU_SECONDS, limits["memory_bytes"] + SPARE_MEMORY_BYTES
    lower_limit(resource.RLIMIT_CPU, cpu, cpu + 1)
    lower_limit(resource.RLIMIT_AS, memory, memory)
    lower_limit(resource.RLIMIT_CORE, 0, 0)
    program = Program()  # before the job is read, for a child inherits memory
    try:
        protection = {**program.confine(limits, libraries), "process_namespace": alone}
    except (Gone, Exception) as error:
        _write(report, {"refused": describe(error)})
        return
    _write(report, {"protection": protection})
    with open(job, "rb") as file:
        task = json.load(file)

    def tell(outcome: Outcome) -> None:
        status, reason = outcome
        printable = reason.encode(errors="replace").decode()  # half a surrogate pair would break whoever writes it down
        _write(report, {"status": status, "reason": printable})
        os._exit(0)

    tell(judge_program(task, program, limits, tell))


def _enter_process_namespace() -> bool:
    """Let the next child see no process but itself, if this user may."""
    for flags in (CLONE_NEWPID, CLONE_NEWUSER | CLONE_NEWPID):
        try:
            unshare(flags)
        except OSError:
            continue
        return True
    return False


def _write(report: int, line: dict[str, Any]) -> None:
    os.write(report, json.dumps(line).encode() + b"\n")
