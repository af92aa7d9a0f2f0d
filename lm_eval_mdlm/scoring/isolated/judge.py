"""The process that runs a benchmark's test on a program that runs in another.

The program can reach neither the test nor the pipe on which the verdict is given, and a result that would claim to
equal anything arrives as plain data or not at all.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from .exchange import MAX_REASON_CHARACTERS, Channel, PlainUnpickler, ProgramError, describe
from .worker import PR_SET_DUMPABLE, prctl, serve


class TimeUp(BaseException):
    """A limit of time was reached; not an Exception, so that no test can catch it by accident."""


class Worker:
    """The program's function, as the test calls it."""

    def __init__(self) -> None:
        requests, replies = os.pipe(), os.pipe()
        judge = os.getpid()
        self._process: int | None = os.fork()
        if self._process == 0:
            try:
                serve(judge, Channel(requests[0], replies[1]))
            finally:
                os._exit(1)
        os.close(requests[0])
        os.close(replies[1])
        self._channel = Channel(replies[0], requests[1])
        self._cpu_seconds = 0

    def confine(self, limits: dict[str, Any]) -> None:
        """Take its rights away; SystemExit if that fails, for then nothing may be run."""
        self._cpu_seconds = limits["cpu_seconds"]
        try:
            self._ask(limits)
        except ProgramError as error:
            raise SystemExit(f"the program cannot be confined: {error}") from None

    def start(self, program: str, entry_point: str) -> None:
        """Let the program define its function; ProgramError if it fails to."""
        self._ask((program, entry_point))

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._ask((arguments, keywords))

    def _ask(self, message: Any) -> Any:
        try:
            self._channel.send(message)
            kind, value = self._channel.receive(PlainUnpickler)
        except (EOFError, BrokenPipeError):
            raise ProgramError(self.end()) from None
        except ProgramError:
            raise
        except Exception as error:  # a forged message can break the unpickler in any way
            raise ProgramError(f"an unreadable result, {describe(error)}") from None
        if kind == "error":
            raise ProgramError(str(value)[:MAX_REASON_CHARACTERS])
        return iter(value) if kind == "items" else value

    def end(self) -> str:
        """Kill and reap it; how it ended, or TimeUp if it had used up its processor time."""
        if self._process is None:
            return "the program has ended"
        os.kill(self._process, signal.SIGKILL)
        _, status, usage = os.wait4(self._process, 0)
        self._process = None
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else ""
        # A program that ignores SIGXCPU gets SIGKILL a second later, as it does here when its pipes are closed.
        if name == "SIGXCPU" or (name == "SIGKILL" and usage.ru_utime + usage.ru_stime > self._cpu_seconds):
            raise TimeUp(f"{self._cpu_seconds} s of processor time")
        if name:
            return f"the program was ended by {name}"
        return f"the program exited with status {os.WEXITSTATUS(status)} before the test was over"


def judge_program(job: dict[str, Any], worker: Worker, check: Callable[[Worker], Any]) -> tuple[str, str]:
    """Status and reason: whether `check`, called with the program's function, returns; TimeUp if it takes too long."""
    try:
        worker.start(job["program"], job["entry_point"])
        check(worker)
        return "passed", ""
    except ProgramError as error:
        return "failed", str(error)
    except Exception as error:
        return "failed", f"{describe(error)} {failing_line(error, job['test'])}"[:MAX_REASON_CHARACTERS]


def failing_line(error: Exception, test: str) -> str:
    """The line of the test at which an exception came up."""
    frames = traceback.extract_tb(error.__traceback__)
    in_test = [frame.lineno for frame in frames if frame.filename == "<test>" and frame.lineno]
    return f"in: {test.splitlines()[in_test[-1] - 1].strip()}" if in_test else ""


def main() -> None:
    """Read a job from standard input, write its verdict to what was standard output."""
    prctl(PR_SET_DUMPABLE, 0)  # closes this process's memory and pipes to others of its user
    report = os.dup(1)
    os.dup2(2, 1)
    worker = Worker()  # before the job is read, for a child inherits memory
    job = json.load(sys.stdin)
    worker.confine(job["limits"])
    names: dict[str, Any] = {"__name__": "test"}
    exec(compile(job["setup"], "<setup>", "exec"), names)
    names[job["entry_point"]] = worker  # some tests call it by its name
    exec(compile(job["test"], "<test>", "exec"), names)
    check = names["check"]

    def expire(*_: Any) -> None:
        raise TimeUp(f"{job['limits']['wall_seconds']:g} s")

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, job["limits"]["wall_seconds"])
    try:
        status, reason = judge_program(job, worker, check)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeUp as error:
        status, reason = "timed out", str(error)
    with contextlib.suppress(TimeUp):
        worker.end()
    printable = reason.encode(errors="replace").decode()  # half a surrogate pair would break whoever writes it down
    os.write(report, json.dumps({"status": status, "reason": printable}).encode())


if __name__ == "__main__":
    main()
