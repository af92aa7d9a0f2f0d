"""A system-call filter that leaves a process nothing but computing, reading files and talking over its open pipes.

Writes classic BPF for the Linux kernel (seccomp(2)); installing it is the business of `sandboxed`. Forbidden calls
fail with EPERM, so Python raises PermissionError. The filter binds the process and cannot be taken off again.
"""

import errno
import os
import platform
import struct


ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""AUDIT_ARCH of the kernel's headers, and the column of FORBIDDEN."""

Numbers = tuple[int | None, int | None]
FORBIDDEN: dict[str, Numbers] = {
    # Network
    **{"socket": (41, 198), "socketpair": (53, 199), "io_uring_setup": (425, 425)},
    # New processes and threads, other programs, and leaving the group that is killed at the end
    **{"clone": (56, 220), "fork": (57, None), "vfork": (58, None), "clone3": (435, 435), "execve": (59, 221)},
    **{"execveat": (322, 281), "setsid": (112, 157), "setpgid": (109, 154), "prctl": (157, 167)},
    **{"unshare": (272, 97), "setns": (308, 268)},
    # Other processes
    **{"kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438)},
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    # Files; opening one for writing is in FORBIDDEN_BITS
    **{"creat": (85, None), "openat2": (437, 437), "truncate": (76, 45), "mknod": (133, None), "mknodat": (259, 33)},
    **{"rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None)},
    **{"mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35)},
    **{"link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36)},
    **{"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55)},
    **{"lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None)},
    **{"futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6)},
    **{"fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16)},
    # Objects of the kernel that outlive the process
    **{"shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180)},
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
}
"""System call numbers on x86_64 and aarch64; None where the architecture has no such call."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ANY_BIT = 0xFFFFFFFF
FORBIDDEN_BITS: dict[str, tuple[Numbers, int, int]] = {
    "open": ((2, None), 1, _WRITING),
    "openat": ((257, 56), 2, _WRITING),
    "prlimit64": ((302, 261), 0, _ANY_BIT),  # limits of other processes; 0 is the caller itself
}
"""Calls forbidden if an argument has one of these bits: numbers, which argument, bits."""

FIRST_UNKNOWN = 450
"""System calls from here on are newer than this list and answer ENOSYS, as on an older kernel."""

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _FAIL, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data


def filter_program(machine: str | None = None) -> bytes:
    """The filter for `machine` (this one by default): an array of `struct sock_filter`, 8 bytes each.

    Raises:
        KeyError: For a machine that is not in ARCHITECTURES.
    """
    architecture, column = ARCHITECTURES[machine or platform.machine()]
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_JUMP_AT_LEAST, FIRST_UNKNOWN, 0, 1),  # on x86_64 also the second, 32-bit numbering
        _instruction(_RETURN, _FAIL | errno.ENOSYS),
    ]
    for numbers, argument, bits in FORBIDDEN_BITS.values():
        if (number := numbers[column]) is not None:
            program += [
                _instruction(_JUMP_EQUAL, number, 0, 4),
                _instruction(_LOAD, _ARGUMENTS_AT + 8 * argument),  # the low half of it, on a little-endian machine
                _instruction(_JUMP_ANY_BIT, bits, 0, 1),
                _instruction(_RETURN, _FAIL | errno.EPERM),
                _instruction(_RETURN, _ALLOW),
            ]
    for numbers in FORBIDDEN.values():
        if (number := numbers[column]) is not None:
            program += [_instruction(_JUMP_EQUAL, number, 0, 1), _instruction(_RETURN, _FAIL | errno.EPERM)]
    return b"".join([*program, _instruction(_RETURN, _ALLOW)])


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
