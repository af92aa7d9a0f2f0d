"""How a process ends before its work is done: told to by a signal, or because a process that it waits for is gone.

What is promised of signals, inside `ends_on_signals` in the main thread:

- The first SIGINT raises KeyboardInterrupt and the first SIGTERM raises `Terminated`, so that `finally` blocks run.
  Such an exception may appear between any two steps of Python, in libraries too: what must be whole afterwards has to
  bear that by itself, as a journal does.
- Once it has left the block, the last acts run and one line is printed. The exception goes on to the caller.
- A main thread that is not out of the block after `GRACE` seconds, because it waits in a collective or a long pass, or
  because somebody caught the exception, is not waited for: the last acts run in another thread, and the process ends.
- A second signal ends the process at once. Launchers pass on a signal that the terminal has sent to all already, so one
  that follows within half a second counts as the same, and the block is left no sooner.
"""

import atexit
import contextlib
import functools
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from ..errors import is_told, mark_as_told


logger = logging.getLogger("lm_eval.mdlm")
GRACE = 8.0
"""Seconds; less than the ten after which container engines send SIGKILL."""
_SAME_SIGNAL = 0.5
"""Seconds within which further signals count as the first one."""
_ACTS_TAKE = 5.0
"""Seconds after which a last act that hangs, on a network file system that is gone, is given up."""
INCOMPLETE = 3
"""Exit code of a run that came to its end, and whose results lack rows or could not be written."""
_NOBODY_READS = AttributeError, OSError, ValueError
"""What an output raises that is None, has no reader or no room, or is closed."""
_acts: list[Callable[[], None]] = []
_early = threading.Event()
_lines_at_exit: list[str] = []


class Terminated(SystemExit):
    """SIGTERM has arrived; ends the process with exit code 143 if nobody catches it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextlib.contextmanager
def last_act(act: Callable[[], None]) -> Iterator[None]:
    """While the block runs, `act` is called before this process ends early; it may be called twice, from any thread."""
    _acts.append(act)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a forked child has none
            _acts.remove(act)


def perform_last_acts() -> None:
    """Call what `last_act` holds, the newest first; one that fails is logged and keeps no other from its turn."""
    _early.set()
    for act in reversed(_acts):
        try:
            act()
        except Exception as error:
            logger.error("before the end: %s: %s", type(error).__name__, error)


def ended_early() -> bool:
    """Whether the last acts have been called."""
    return _early.is_set()


def end_now(code: int, line: str) -> None:
    """End the process from any thread, whatever the others do: a line, the last acts, no `finally` blocks."""
    # By the descriptor: the main thread may hang while it holds the lock of `sys.stderr`.
    with contextlib.suppress(OSError):
        os.write(2, f"\nlm_eval_mdlm: error: {line}\n".encode())
    acting = threading.Thread(target=perform_last_acts, daemon=True)
    acting.start()
    acting.join(_ACTS_TAKE)
    os._exit(code)


def fail_at_exit(line: str) -> None:
    """When this process ends as if all were well, once everything else is done: a line, and exit code `INCOMPLETE`."""
    if not _lines_at_exit:
        _register_as_the_last(_fail)
    if line not in _lines_at_exit:
        _lines_at_exit.append(line)


def _fail() -> None:
    if ended_early() or hasattr(sys, "last_value"):  # it fails already
        return
    _do_all_that_is_due(_fail)
    with contextlib.suppress(*_NOBODY_READS):
        for line in _lines_at_exit:
            print(f"lm_eval_mdlm: error: {line}", file=sys.stderr, flush=True)
    os._exit(INCOMPLETE)


def _end_as_interrupted() -> None:
    """If nobody caught an interrupt of ours: as Python ends by itself, unless C code at the end makes it forget.

    That of torch._dynamo does, and with it every program that imports transformers' Trainer.
    """
    error = getattr(sys, "last_value", None)
    if not isinstance(error, KeyboardInterrupt) or not is_told(error) or hasattr(sys, "ps1"):
        return
    _do_all_that_is_due(_end_as_interrupted)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _do_all_that_is_due(own: Callable[..., None]) -> None:
    """At the end of the process; Python has no way to another exit code by then but to leave at once."""
    atexit.unregister(own)
    atexit._run_exitfuncs()
    with contextlib.suppress(*_NOBODY_READS):
        sys.stdout.flush()


def _register_as_the_last(act: Callable[[], None]) -> None:
    """So that it is called first, as `atexit` has it: what others have registered is then called by it, and once."""
    threading._register_atexit(atexit.register, act)  # type: ignore[attr-defined]  # called before all of `atexit`


@functools.cache
def _mind_interrupts() -> None:
    # Without the interrupt itself: with its frames it would keep a network for as long as the process lives.
    _register_as_the_last(_end_as_interrupted)


@contextlib.contextmanager
def ends_on_signals(resume: str | None = None) -> Iterator[None]:
    """SIGINT and SIGTERM end the block in order; see the top of this file.

    Handlers are set only where Python's own are in place, in the main thread of a program. In an interactive Python,
    such as a notebook, an interrupt must not end the process: there KeyboardInterrupt is what it always is, and only
    the last acts and the line are added.

    Args:
        resume: How to continue, for the line, as "the same command continues with ..."; None prints no line.
    """
    with _handlers(resume):
        try:
            yield
        except (KeyboardInterrupt, Terminated) as error:
            perform_last_acts()
            if resume is not None and not is_told(error):
                name = "SIGTERM" if isinstance(error, Terminated) else "SIGINT"
                print(f"lm_eval_mdlm: stopped by {name}; {resume}", file=sys.stderr, flush=True)
            mark_as_told(error)
            if isinstance(error, KeyboardInterrupt) and not hasattr(sys, "ps1"):
                _mind_interrupts()
            raise


@contextlib.contextmanager
def _handlers(resume: str | None) -> Iterator[None]:
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = {number: handler for number, handler in usual.items() if signal.getsignal(number) == handler}
    if threading.current_thread() is not threading.main_thread() or hasattr(sys, "ps1"):
        yield
        return
    if not ours:
        with _watches[-1].within(resume) if _watches else contextlib.nullcontext():
            yield
        return
    watch = _Watch(ours, resume)
    _watches.append(watch)
    try:
        watch.begin()
        yield
    finally:
        if watch in _watches:  # not in a forked child
            watch.end()
            _watches.remove(watch)


class _Watch:
    """Handlers of signals, and a thread that hears of each signal even while the main thread does not run Python.

    Args:
        before: The handlers to put back at the end, by signal.
        resume: As in `ends_on_signals`.
    """

    def __init__(self, before: dict[int, Any], resume: str | None) -> None:
        self._before, self._resume = before, resume
        self._first: float | None = None
        self._listening, self._telling = os.pipe()
        os.set_blocking(self._telling, False)
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def begin(self) -> None:
        other = signal.set_wakeup_fd(self._telling, warn_on_full_buffer=False)
        self._wakeup_is_ours = other == -1
        if not self._wakeup_is_ours:  # an event loop's; the handlers below do without the thread then
            signal.set_wakeup_fd(other)
        self._thread.start()
        for number in self._before:
            signal.signal(number, self._handle)

    def end(self) -> None:
        if self._first is not None:
            time.sleep(max(0.0, self._first + _SAME_SIGNAL - time.monotonic()))
        self.put_back()
        os.write(self._telling, b"\0")
        self._thread.join()
        os.close(self._telling)
        os.close(self._listening)

    @contextlib.contextmanager
    def within(self, resume: str | None) -> Iterator[None]:
        """A block inside this one, which knows better how to go on."""
        before = self._resume
        self._resume = before if resume is None else resume
        try:
            yield
        finally:
            self._resume = before

    def put_back(self) -> None:
        """The handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._wakeup_is_ours:
            signal.set_wakeup_fd(-1)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._first is None:
            self._first = time.monotonic()
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        if time.monotonic() - self._first > _SAME_SIGNAL:
            os._exit(128 + number)

    def _listen(self) -> None:
        number = self._next(None)
        if not number:
            return
        first = time.monotonic()
        while (again := self._next(first + GRACE)) is not None:
            if again == 0:
                return
            if time.monotonic() - first > _SAME_SIGNAL:
                os._exit(128 + again)
        name = signal.Signals(number).name
        rest = "" if self._resume is None else f"; {self._resume}"
        end_now(128 + number, f"stopped by {name}, without what would not end within {GRACE:.0f} s{rest}")

    def _next(self, deadline: float | None) -> int | None:
        """Number of the next signal of ours; 0 at the end of the block, None after the deadline."""
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._listening], [], [], wait)[0]:
                return None
            (number,) = os.read(self._listening, 1)
            if number == 0 or number in self._before:
                return int(number)


_watches: list[_Watch] = []


def _before_fork() -> None:
    if _watches:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))


def _after_fork() -> None:
    if _watches:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


def _in_forked_child() -> None:
    # Else a signal to the child would be told to the parent's thread, by the pipe that both have.
    for watch in reversed(_watches):
        watch.put_back()
    _after_fork()
    _watches.clear()
    _acts.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_forked_child)
