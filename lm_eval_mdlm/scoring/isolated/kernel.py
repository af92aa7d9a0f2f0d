"""The Linux system calls that Python does not offer, by ctypes; OSError where the kernel refuses."""

import ctypes
import functools
import itertools
import os
import struct


PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 3, 4, 38
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
CAPABILITY_VERSION_3 = 0x20080522
MAX_OPEN_FILES = 128
"""Of the processes on this side, of which none ever has more than a dozen, and of the program."""


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return libc


def prctl(option: int, value: int = 0) -> int:
    """Read or change an attribute of this process."""
    return _checked(_libc().prctl(option, value, 0, 0, 0))


def system_call(number: int, *arguments: "int | bytes | None") -> int:
    """syscall(2); integers are passed as 64 bits, bytes as a pointer to a copy of them, None as a null pointer."""
    passed = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    return _checked(_libc().syscall(ctypes.c_long(number), *passed))


def unshare(flags: int) -> None:
    """Leave namespaces for new ones."""
    _checked(_libc().unshare(flags))


def drop_capabilities() -> None:
    """Give up root's privileges over files, limits and processes for good."""
    header = ctypes.create_string_buffer(struct.pack("=II", CAPABILITY_VERSION_3, 0), 8)
    _checked(_libc().capset(header, ctypes.create_string_buffer(24)))


def lower_limit(which: int, soft: int, hard: int) -> None:
    """Lower a limit of this process; one that is lower already stays."""
    import resource  # not on Windows, where this file must still load

    allowed = resource.getrlimit(which)[1]
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    resource.setrlimit(which, (soft, hard))


def close_all_but(*kept: int) -> None:
    """Close every descriptor from 3 to MAX_OPEN_FILES that is not in `kept`."""
    edges = [2, *sorted(kept), MAX_OPEN_FILES]
    for before, behind in itertools.pairwise(edges):
        os.closerange(before + 1, behind)


def _checked(status: int) -> int:
    if status < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return status
