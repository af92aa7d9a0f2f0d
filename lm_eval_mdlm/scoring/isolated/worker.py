"""The process that runs a generated program, with every right taken away from it."""

import os
import random
import socket
import sys
import types
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .confinement import confine
from .exchange import Channel
from .kernel import close_all_but
from .peer import Peer
from .stand_ins import EVERYTHING


SEED = 1
"""Of `random` in the program; the test has another, so that neither foresees the other's numbers."""


def serve(channel: Channel, judge: socket.socket) -> None:
    """Give up all rights when asked to, define the program's function, and call it as often as the judge asks."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    close_all_but(channel.source, channel.sink, judge.fileno())

    def give_up_rights(cpu_seconds: int, memory_bytes: int, libraries: list[str]) -> dict[str, Any]:
        protection = confine(cpu_seconds=cpu_seconds, memory_bytes=memory_bytes, libraries=libraries, judge=judge)
        judge.close()
        return asdict(protection)

    Peer(
        channel,
        first_handle=1,
        operations=EVERYTHING,
        commands={"confine": give_up_rights, "define": define},
    ).serve()


def define(program: str, entry_point: str) -> Callable[..., Any]:
    """Run the program; what it has under the name of `entry_point`."""
    random.seed(SEED)
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    exec(compile(program, "<program>", "exec"), module.__dict__)
    function: Callable[..., Any] = module.__dict__[entry_point]
    return function
