"""Processes of one run that watch each other: when one is gone, the others end instead of waiting for it for ever.

Every process counts up a beat in the launcher's store, from a thread of its own, and looks at the beats of the others
(`beats`), from before the process group is formed. A long pass or load is no silence, as the thread goes on meanwhile.
A process that ends in order says so first; so does one that calls `sys.exit` on its own, whatever the code, which
Python does not tell from an end in order.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.util import Finalize
from typing import Any

from ..errors import UsageError
from .beats import DONE, RELEASED, Beats, Patience
from .ending import end_now, ended_early
from .launched import Launched


_UNREACHED = (
    "did not reach the others: {:.300}; name the network between the hosts in GLOO_SOCKET_IFNAME, or, for GPUs, in "
    "NCCL_SOCKET_IFNAME."
)
_ALONE = (
    "must have a GPU of its own, got of NCCL: {:.300}; start at most as many processes on a host as it has GPUs, or "
    "set ACCELERATE_USE_CPU=true."
)
_SHARED = re.compile(r"Duplicate GPU detected[^\n]*")
_AT_HOME = "unhandled cuda error", "invalid usage", "invalid argument"
"""What NCCL says first of a fault that is neither another process's nor the network's."""


def is_broken_connection(error: BaseException) -> bool:
    """Whether it tells of the way to another process."""
    from torch import distributed

    first = str(error).partition("\n")[0]
    if isinstance(error, distributed.DistBackendError):
        return not any(fault in first for fault in _AT_HOME)
    return isinstance(error, RuntimeError) and (isinstance(error, distributed.DistError) or "gloo" in str(error))


class Liveness:
    """The threads of one process; `begin` starts them.

    Args:
        rank: Of this process.
        world_size: Number of processes, at least 2.
        connect: A client of the store that nobody else uses, as a blocked one blocks all its users. It is called again
            when a connection has broken.
        patience: With the others.
        address: Of the store, for people.
    """

    def __init__(
        self, rank: int, world_size: int, connect: Callable[[], Any], patience: Patience, address: str
    ) -> None:
        self._rank, self._connect, self._limit = rank, connect, patience.silence
        self._interval = min(3.0, self._limit / 6)
        self._others = [other for other in range(world_size) if other != rank]
        self._beats = Beats(self._others, patience, time.monotonic(), address)
        self._state = b""
        self._stop, self._wake, self._told = threading.Event(), threading.Event(), threading.Event()
        self._talking = threading.Thread(target=self._talk, daemon=True)

    def begin(self) -> None:
        """Start to beat and to watch, until this process ends."""
        self._talking.start()
        threading.Thread(target=self._watch, daemon=True).start()
        # Not `atexit`, which children of multiprocessing leave out.
        Finalize(None, self._say_goodbye, exitpriority=10)

    @property
    def has_stopped(self) -> bool:
        """Whether this process watches and beats no more."""
        return self._stop.is_set()

    @contextmanager
    def forming(self) -> Iterator[None]:
        """In the block the processes come to reach each other; if it does not end in time, this process does.

        After an error in it this process is none of them any more.

        Raises:
            UsageError: If it could not reach another, and none is gone; if it shares a GPU with another.
        """
        try:
            yield
        except BaseException as error:
            try:
                if broken := is_broken_connection(error):
                    self.wait_for_a_loss()
                elif isinstance(error, RuntimeError):
                    time.sleep(2 * self._interval)  # so that the others have heard it, and call it gone at once
            finally:  # an interrupt while it waits, too
                self._stop.set()
            if broken:
                reason = str(error).partition("\n")[0]
                raise UsageError(f"process {self._rank} {_UNREACHED.format(reason)}") from error
            if shared := _SHARED.search(str(error)):
                raise UsageError(f"process {self._rank} {_ALONE.format(shared[0])}") from error
            raise
        self._beats.form(time.monotonic())

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
            self._wake.wait(0.1 if self._state == DONE else self._interval)
            self._wake.clear()

    def _met(self, store: Any) -> Any:
        """The store, when every process has a value there, so that to ask for it never waits."""
        for rank in (self._rank, *self._others):
            store.compare_set(str(rank), "", "0")
        return store

    def _answer(self, said: bytes) -> None:
        if said in (DONE, RELEASED):
            self._told.set()
            if said == RELEASED or self._rank != 0 or self._beats.have_done(self._others):
                self._stop.set()
        elif self._rank != 0 and self._beats.have_done([0]):
            self._state = RELEASED
            self._wake.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval / 2):
            loss = self._beats.loss(time.monotonic())
            if loss and self._state != DONE:
                end_now(1, f"{loss}, and process {self._rank} does not go on without it.")

    def _say_goodbye(self) -> None:
        if not (self._stop.is_set() or ended_early() or hasattr(sys, "last_value") or _is_failure(sys.exc_info()[1])):
            self._state = DONE
            self._wake.set()
            # Process 0 may keep the store, and waits until the others know that it has not died.
            (self._stop if self._rank == 0 else self._told).wait(self._limit)
        # Not left to the end of Python, which aborts if a thread comes back from torch then.
        self._stop.set()
        self._wake.set()
        self._talking.join(self._limit / 2)


def _is_failure(error: BaseException | None) -> bool:
    return error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0))


_of_this_process: dict[Launched, Liveness] = {}


def watch_processes() -> Liveness:
    """The one `Liveness` of this process for the launcher that its environment names, begun with the first call.

    After an error in `forming` it is another one. To be called before the process group is formed, which waits for all
    processes, however long.

    Raises:
        UsageError: If the environment does not say which process this is of which run, or if the store cannot be kept
            in this process, which is to keep it.
    """
    launched = Launched.of_environment()
    if launched not in _of_this_process or _of_this_process[launched].has_stopped:
        patience = Patience.of_environment()
        address = f"{launched.host}:{launched.port}"
        liveness = Liveness(launched.rank, launched.world_size, _connecting(launched, patience), patience, address)
        liveness.begin()
        _of_this_process[launched] = liveness
    return _of_this_process[launched]


def _connecting(launched: Launched, patience: Patience) -> Callable[[], Any]:
    """What makes clients of the store by which the launcher's processes find each other."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # not in every build of torch

    host, port, kept = launched.host, launched.port, None
    if launched.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        # Nobody keeps it yet. As one of several tenants, torch's own process group then takes it for its own.
        timeout = timedelta(seconds=patience.meeting)
        try:
            kept = TCPStore(host, port, is_master=True, wait_for_workers=False, multi_tenant=True, timeout=timeout)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(
                f"MASTER_ADDR={host} and MASTER_PORT={port} must be an address of process 0's host and a port that is "
                f"free there, got: {reason:.300}; name others."
            ) from error

    answer = timedelta(seconds=patience.silence / 3)
    first_answer = iter([timedelta(seconds=patience.meeting)])  # torch prints a stack for each attempt that is given up

    def connect() -> Any:
        _ = kept  # as long as the threads keep this function
        within = next(first_answer, answer)
        client = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=within)
        client.set_timeout(answer)
        return PrefixStore("mdlm/alive", client)

    return connect
