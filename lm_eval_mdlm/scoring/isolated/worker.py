"""The process that runs a generated program, with every right taken away from it."""

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
import types
from typing import Any

from .exchange import Channel, answer, describe
from .seccomp import filter_program


MAX_OPEN_FILES = 256
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_ulong]


def serve(judge: int, channel: Channel) -> None:
    """Give up all rights, run the program, then call its function as often as the judge asks."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in set(range(3, MAX_OPEN_FILES)) - {channel.source, channel.sink}:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    try:
        confine(channel.receive(), judge)
    except (OSError, ValueError) as error:
        channel.send(("error", describe(error)))
        return
    channel.send(("value", None))
    program, entry_point = channel.receive()
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    try:
        exec(compile(program, "<program>", "exec"), module.__dict__)
        function = module.__dict__[entry_point]
    except BaseException as error:
        channel.send(("error", describe(error)))
        return
    channel.send(("value", None))
    while True:
        arguments, keywords = channel.receive()
        try:
            channel.send(answer(function(*arguments, **keywords)))
        except BaseException as error:
            channel.send(("error", describe(error)))


def confine(limits: dict[str, Any], judge: int) -> None:
    """Give up for good every right that computing does not need; OSError if the kernel refuses.

    The filter comes last, because it forbids what the other lines do.
    """
    cpu, memory = limits["cpu_seconds"], limits["memory_bytes"]
    _limit(resource.RLIMIT_CPU, cpu, cpu + 1)  # SIGXCPU; a second later SIGKILL, which nothing catches
    _limit(resource.RLIMIT_AS, memory, memory)
    for which in (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        _limit(which, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=II", CAPABILITY_VERSION_3, 0), 8)
    _check(LIBC.capset(header, ctypes.create_string_buffer(24)))
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != judge:  # which died before the line above took effect
        raise ProcessLookupError(judge)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    rules = filter_program()
    instructions = ctypes.create_string_buffer(rules, len(rules))
    program = struct.pack("@HP", len(rules) // 8, ctypes.addressof(instructions))  # struct sock_fprog
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program)


def _limit(which: int, soft: int, hard: int) -> None:
    """Lower a limit; one that is lower already stays."""
    allowed = resource.getrlimit(which)[1]
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    resource.setrlimit(which, (soft, hard))


def prctl(option: int, value: int, pointer: bytes | None = None) -> None:
    """The system call of that name; OSError if it fails."""
    _check(LIBC.prctl(option, value, pointer, 0, 0))


def _check(status: int) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
