"""The process that starts judges: one fresh copy of itself per program, so that no interpreter has to start for it.

It never sees a program or a test, and ends with whoever holds the other end of its socket.
"""

# What programs and tests import most; loaded once, here.
import bisect  # noqa: F401
import copy  # noqa: F401
import functools  # noqa: F401
import gc
import hashlib  # noqa: F401
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import math  # noqa: F401
import operator  # noqa: F401
import os
import re  # noqa: F401
import select
import signal
import socket
import string  # noqa: F401
import sys
import typing  # noqa: F401
from typing import Any

from . import judge
from .kernel import PR_SET_DUMPABLE, PR_SET_PDEATHSIG, prctl


SPARE_SECONDS = 60.0
"""For the start and the verdict, beyond the program's own time."""


def main() -> None:
    """Start a judge whenever a message with its limits and descriptors comes, and answer how it has ended."""
    settings = json.loads(sys.argv[1])
    sys.path[:1] = []
    sys.path += settings["libraries"]
    _take_default_signals()
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    control = socket.socket(fileno=settings["control"])
    if os.getppid() != settings["parent"]:
        return
    gc.freeze()  # so that collections in the copies leave shared memory alone
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 3)
        if not message:
            return
        control.send(json.dumps(_judged(control, json.loads(message), descriptors, settings["libraries"])).encode())


def _judged(
    control: socket.socket, limits: dict[str, Any], descriptors: list[int], libraries: list[str]
) -> dict[str, Any]:
    """Run one judge to its end; its wait status, and whether it had to be ended here."""
    alive, held = os.pipe()
    starter, process = os.getpid(), os.fork()
    if process == 0:
        try:
            control.close()
            os.close(alive)
            _judge(starter, descriptors, limits, libraries)
        finally:
            os._exit(1)
    for descriptor in (held, *descriptors):
        os.close(descriptor)
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    poll.register(control, select.POLLIN)
    ready = poll.poll(1000 * (limits["wall_seconds"] + SPARE_SECONDS))
    late = (alive, select.POLLHUP) not in ready
    if late:
        os.kill(process, signal.SIGKILL)
    os.close(alive)
    return {"status": os.waitpid(process, 0)[1], "late": late}


def _judge(starter: int, descriptors: list[int], limits: dict[str, Any], libraries: list[str]) -> None:
    os.setsid()
    job, report, output = descriptors
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    judge.main(starter=starter, job=job, report=report, limits=limits, libraries=libraries)
    os._exit(0)


def _take_default_signals() -> None:
    """As an evaluator may ignore or block some, and what it does is inherited."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
