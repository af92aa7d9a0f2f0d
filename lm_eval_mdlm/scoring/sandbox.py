"""Runs generated programs against a benchmark's tests and says which passed.

What the kernel guarantees for a program (`isolated/`): it makes only the system calls that computing needs, so it
creates no process, no connection and no object that outlives it, and reaches no other process; it opens only the
interpreter's files (Landlock), and writes only /dev/null and its output; it has few threads, and ends at its limits of
time and memory. What keeps the verdict honest: the test runs in another process, which alone holds the pipe for the
verdict and takes nothing but plain data from the program, in a closed encoding. It passes only if the benchmark's
`check` has returned there. Whatever a program does once it is confined is a verdict on that program.

What is not guaranteed: names, sizes and dates of other files can be seen. A hole in the kernel is a hole here; this is
no virtual machine. `Protection.gaps` says what a kernel lacks. Where the filter cannot be had (not Linux on x86_64 or
aarch64, or a container that forbids seccomp) nothing is run.
"""

import logging
import os
import platform
import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from ..errors import UsageError
from .isolated.system_calls import ARCHITECTURES
from .starting import Starter
from .verdicts import DEFAULT_LIMITS, Check, Limits, Protection, Verdict


__all__ = ["Check", "Executions", "Limits", "Protection", "Verdict", "check_support", "run_check", "run_checks"]
_FILES_PER_WORKER = 20  # it opens nine
_log = logging.getLogger(__name__)


def run_check(
    *, program: str, entry_point: str, test: str, setup: str = "", limits: Limits = DEFAULT_LIMITS
) -> Verdict:
    """Run one check; the arguments are the fields of `Check`.

    Raises:
        RuntimeError: If the program could not be confined, so that nothing of it was run; never because of the program.
    """
    with Starter(limits) as starter:
        return starter.check(Check(program=program, entry_point=entry_point, test=test, setup=setup))


def run_checks(
    checks: Sequence[Check], *, limits: Limits = DEFAULT_LIMITS, num_workers: int | None = None
) -> list[Verdict]:
    """Run many checks, as many at a time as there are cores (or `num_workers`); their verdicts in order.

    Raises:
        RuntimeError: As `run_check`.
    """
    executions = Executions(limits=limits, num_workers=num_workers)
    executions.begin(checks)
    try:
        return [executions.verdict(check) for check in checks]
    finally:
        executions.cancel()


class Executions:
    """Checks that run while somebody does something else, and whose verdicts are asked for one by one.

    Threads that wait for processes; they end when nothing is left to run, and with the program that holds them.
    """

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS, num_workers: int | None = None) -> None:
        """Run nothing yet; at most `num_workers` at a time, by default one per core that this process may use."""
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}; leave it unset for one per core.")
        self._limits = limits
        self._num_workers = num_workers
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Check, Future[Verdict]]] = deque()
        self._futures: dict[Check, Future[Verdict]] = {}
        self._num_asked: Counter[Check] = Counter()
        self._num_running = 0

    def begin(self, checks: Iterable[Check]) -> None:
        """Start to run checks; equal ones run once, and each is kept until it has been asked for as often."""
        with self._lock:
            for check in checks:
                self._num_asked[check] += 1
                if check not in self._futures:
                    self._futures[check] = Future()
                    self._waiting.append((check, self._futures[check]))
            most = self._num_workers or _default_num_workers()
            num_new = max(0, min(most - self._num_running, len(self._waiting)))
            self._num_running += num_new
        for _ in range(num_new):
            # Daemons: an evaluation that is interrupted does not wait for the rest. Processes end with their thread.
            threading.Thread(target=self._work, name="sandbox", daemon=True).start()

    def verdict(self, check: Check) -> Verdict:
        """The verdict on a check, which is run now if it was not begun; RuntimeError as `run_check`."""
        with self._lock:
            future = self._futures.get(check)
            if future is not None:
                self._num_asked[check] -= 1
                if not self._num_asked[check]:
                    del self._futures[check], self._num_asked[check]
        if future is not None:
            return future.result()
        with Starter(self._limits) as starter:
            return starter.check(check)

    def cancel(self) -> None:
        """Run no more of what has begun; nobody may be waiting for a verdict."""
        with self._lock:
            self._waiting.clear()
            self._futures.clear()
            self._num_asked.clear()

    def _next(self) -> tuple[Check, "Future[Verdict]"] | None:
        with self._lock:
            if not self._waiting:
                self._num_running -= 1
                return None
            return self._waiting.popleft()

    def _work(self) -> None:
        with Starter(self._limits) as starter:
            while (job := self._next()) is not None:
                check, future = job
                try:
                    future.set_result(starter.check(check))
                except BaseException as error:
                    future.set_exception(error)


def check_support() -> Protection:
    """Run two programs whose verdicts are known; what protects programs here, with a line for each gap in it.

    Raises:
        UsageError: If programs cannot be run here with the promised guarantees.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ARCHITECTURES:
        raise UsageError(
            f"running generated programs needs Linux on {' or '.join(ARCHITECTURES)} for its sandbox, this is "
            f"{platform.system()} on {machine}; score this benchmark on such a machine."
        )
    test = "def check(candidate):\n    assert candidate(1) == 2"
    try:
        with Starter(DEFAULT_LIMITS) as starter:
            programs = [f"def f(x):\n    return x + {step}" for step in (1, 2)]
            verdicts = [starter.check(Check(program=text, entry_point="f", test=test)).status for text in programs]
            protection = starter.protection
    except (RuntimeError, OSError) as error:
        raise UsageError(
            f"running generated programs needs a sandbox, and it cannot be set up here: {error}; allow seccomp in this "
            f"container, or score this benchmark elsewhere."
        ) from error
    assert verdicts == ["passed", "failed"] and protection, verdicts
    for gap in protection.gaps:
        _log.warning("running generated programs: %s.", gap)
    return protection


def _default_num_workers() -> int:
    """One per core that this process may use, shared with the processes that a launcher started beside it."""
    import resource  # not on Windows, where this file must still load

    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = cores if open_files == resource.RLIM_INFINITY else min(cores, open_files // _FILES_PER_WORKER)
    return max(1, most)
