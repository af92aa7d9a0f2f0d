"""Processes of one run that watch each other: when one is gone, the others end instead of waiting for it for ever.

Every process counts up a beat in the launcher's store, from a thread of its own, and looks at the beats of the others.
Times are taken by its own clock alone: a beat that has not changed for `SILENCE` seconds means that its process was
killed, has failed, or stands still; a store that has not answered for as long, that the machine of process 0 is gone.
A long pass or load is no silence, as the thread goes on meanwhile. A process that ends in order says so first; so does
one that calls `sys.exit` on its own, whatever the code, which Python does not tell from an end in order.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.util import Finalize
from typing import Any

from ..errors import UsageError
from .ending import end_now, ended_early


SILENCE = 30.0
"""Seconds. `LM_EVAL_MDLM_SILENCE_S` in the environment sets another number, the same in all processes."""
_DONE = b"done"
"""In place of a beat: this process has ended in order."""
_RELEASED = b"released"
"""In place of a beat: this process knows that process 0, which may keep the store, has ended, and watches no more."""


def silence() -> float:
    """Seconds without a beat after which a process counts as gone.

    Raises:
        UsageError: For a value in the environment that is no number of seconds.
    """
    text = os.environ.get("LM_EVAL_MDLM_SILENCE_S", str(SILENCE))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"LM_EVAL_MDLM_SILENCE_S must be a number of seconds above 0, got {text}; unset it.")
    return seconds


class Beats:
    """What this process has heard of the others, and when; knows no store, no threads and no clock.

    Args:
        ranks: Of the others.
        limit: Seconds of silence that are one too many.
        now: Present time in seconds, as in all methods, by any clock that does not go back.
    """

    def __init__(self, ranks: Sequence[int], limit: float, now: float) -> None:
        self._limit, self._looked = limit, now
        self._last: dict[int, bytes | None] = dict.fromkeys(ranks)
        self._seen = dict.fromkeys(ranks, now)
        self._answered = now

    def hear(self, values: dict[int, bytes], now: float) -> None:
        """The store has answered with these beats."""
        self._answered = now
        for rank, value in values.items():
            if value != self._last[rank]:
                self._last[rank], self._seen[rank] = value, now

    def loss(self, now: float) -> str | None:
        """Who is gone; None if nobody is. To be called several times within the limit."""
        if now - self._looked > self._limit / 2:
            # We have stood still ourselves, and the others may have too: suspended, or in a paused virtual machine.
            self._answered = now
            self._seen = dict.fromkeys(self._seen, now)
        self._looked = now
        if now - self._answered > self._limit:
            return f"process 0 is gone: its store has not answered for {self._limit:.0f} s"
        silent = [rank for rank, seen in self._seen.items() if self._watched(rank) and now - seen > self._limit]
        if silent:
            return f"process {silent[0]} is gone: no sign of life for {self._limit:.0f} s"
        return None

    def have_done(self, ranks: Sequence[int]) -> bool:
        """Whether all these have ended in order, or watch no more."""
        return not any(self._watched(rank) for rank in ranks)

    def _watched(self, rank: int) -> bool:
        return self._last[rank] not in (_DONE, _RELEASED)


class Liveness:
    """The threads of one process; `begin` starts them.

    Args:
        rank: Of this process.
        world_size: Number of processes, at least 2.
        connect: A client of the store that nobody else uses, as a blocked one blocks all its users. It is called again
            when a connection has broken.
        limit: Seconds of silence after which a process counts as gone.
    """

    def __init__(self, rank: int, world_size: int, connect: Callable[[], Any], limit: float) -> None:
        self._rank, self._connect, self._limit = rank, connect, limit
        self._interval = min(3.0, limit / 6)
        self._others = [other for other in range(world_size) if other != rank]
        self._beats = Beats(self._others, limit, time.monotonic())
        self._state = b""
        self._stop, self._wake, self._told = threading.Event(), threading.Event(), threading.Event()
        self._talking = threading.Thread(target=self._talk, daemon=True)

    def begin(self) -> None:
        """Start to beat and to watch, until this process ends."""
        self._talking.start()
        threading.Thread(target=self._watch, daemon=True).start()
        # Not `atexit`, which children of multiprocessing leave out.
        Finalize(None, self._say_goodbye, exitpriority=10)

    def wait_for_a_loss(self) -> None:
        """If another process is gone, end with its line; return if nobody is after all."""
        time.sleep(self._limit + 3 * self._interval)

    def _talk(self) -> None:
        store, number = None, 0
        while not self._stop.is_set():
            number += 1
            state = self._state
            try:
                store = store or self._met(self._connect())
                store.set(str(self._rank), state or b"%d" % number)
                values = store.multi_get([str(rank) for rank in self._others])
            except Exception:  # whatever is wrong, what counts is how long it stays so
                store = None
            else:
                self._beats.hear(dict(zip(self._others, map(bytes, values), strict=True)), time.monotonic())
                self._answer(state)
            self._wake.wait(0.1 if self._state == _DONE else self._interval)
            self._wake.clear()

    def _met(self, store: Any) -> Any:
        """The store, when every process has a value there, so that to ask for it never waits."""
        for rank in (self._rank, *self._others):
            store.compare_set(str(rank), "", "0")
        return store

    def _answer(self, said: bytes) -> None:
        if said in (_DONE, _RELEASED):
            self._told.set()
            if said == _RELEASED or self._rank != 0 or self._beats.have_done(self._others):
                self._stop.set()
        elif self._rank != 0 and self._beats.have_done([0]):
            self._state = _RELEASED
            self._wake.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval / 2):
            loss = self._beats.loss(time.monotonic())
            if loss and self._state != _DONE:
                end_now(1, f"{loss}, and process {self._rank} does not go on without it.")

    def _say_goodbye(self) -> None:
        if not (ended_early() or hasattr(sys, "last_value") or _is_failure(sys.exc_info()[1])):
            self._state = _DONE
            self._wake.set()
            # Process 0 may keep the store, and waits until the others know that it has not died.
            (self._stop if self._rank == 0 else self._told).wait(self._limit)
        # Not left to the end of Python, which aborts if a thread comes back from torch then.
        self._stop.set()
        self._wake.set()
        self._talking.join(self._limit / 2)


def _is_failure(error: BaseException | None) -> bool:
    return error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0))


_of_this_process: dict[tuple[str, ...], Liveness] = {}


def watch_processes(rank: int, world_size: int, store: Any) -> Liveness:
    """The one `Liveness` of this process for the launcher that its environment names, begun with the first call.

    Args:
        rank: Of this process.
        world_size: Number of processes, at least 2.
        store: The launcher's, as this process has it. Process 0 may keep it for all, and then has to as long as they
            watch.
    """
    address = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], str(rank), str(world_size)
    if address not in _of_this_process:
        limit = silence()

        def connect() -> Any:
            _ = store  # kept by this function, and this function by the threads
            from torch import distributed

            client = distributed.TCPStore(  # type: ignore[attr-defined]
                address[0],
                int(address[1]),
                is_master=False,
                wait_for_workers=False,
                timeout=timedelta(seconds=limit / 3),
            )
            return distributed.PrefixStore("mdlm/alive", client)  # type: ignore[attr-defined]

        _of_this_process[address] = Liveness(rank, world_size, connect, limit)
        _of_this_process[address].begin()
    return _of_this_process[address]
