"""What a generated program may ask of the kernel: the calls that running Python needs, and with which arguments.

Numbers and flags are those of the Linux headers for x86_64 and aarch64. A call that is not in ALLOWED is refused, so a
newer kernel brings a program nothing.
"""

from dataclasses import dataclass


ARCHITECTURES = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}
"""AUDIT_ARCH of the kernel's headers, the column of the tables below, and the number of seccomp(2)."""


@dataclass(frozen=True)
class Condition:
    """On one argument; where a field is None it does not matter."""

    argument: int
    one_of: tuple[int, ...] | None = None
    """The argument, its low 32 bits, is one of these."""
    within: int | None = None
    """It has no bit outside these."""
    all_of: int | None = None
    """It has all these bits."""
    not_all_of: int | None = None
    """It lacks at least one of these bits."""
    is_null: bool = False
    """All 64 bits of it are 0."""


Alternatives = tuple[tuple[Condition, ...], ...]
"""One of them must hold; it holds if all of its conditions do."""

ANYHOW: Alternatives = ((),)
OWN_PROCESS = -1
"""Stands for the number of the confined process in `one_of`."""

_WRONLY, _RDWR, _CREAT, _EXCL, _NOCTTY, _TRUNC, _APPEND = 0o1, 0o2, 0o100, 0o200, 0o400, 0o1000, 0o2000
_NONBLOCK, _CLOEXEC, _SYNC = 0o4000, 0o2000000, 0o4010000
_OTHERS = 0o1740000  # O_DIRECT, _DIRECTORY, _NOFOLLOW, _LARGEFILE, whose bits aarch64 exchanges, and O_NOATIME
_READING = _NONBLOCK | _CLOEXEC | _NOCTTY | _OTHERS
_WRITING = _READING | _CREAT | _EXCL | _TRUNC | _APPEND | _SYNC
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
_FILE_STATUS = _WRONLY | _RDWR | _APPEND | _NONBLOCK | _OTHERS  # all but O_ASYNC, which sends signals
_TCGETS, _TCGETS2, _TIOCGWINSZ, _FIONREAD, _FIONBIO = 0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421
_FIONCLEX, _FIOCLEX = 0x5450, 0x5451
_PR_GET_DUMPABLE, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 3, 15, 16, 0x53564D41
_PROTECTION, _WRITE_AND_EXECUTE = 0x17, 0x6  # read, write, execute; 0x10 is aarch64's PROT_BTI
_MAPPING = 0x1 | 0x2 | 0x10 | 0x20 | 0x40 | 0x800 | 0x1000 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x100000
# Shared, private, fixed, anonymous, ...; not MAP_LOCKED and MAP_HUGETLB, which take from all of the machine.
_THREAD = 0x3D0F00  # CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD, _SYSVSEM, _SETTLS, _PARENT_SETTID, _CHILD_CLEARTID
_AF_UNIX, _SOCK_STREAM, _SOCK_FLAGS = 1, 1, _NONBLOCK | _CLOEXEC

OPEN_FOR_READING = (Condition(2, within=_READING),)
OPEN_FOR_WRITING = (
    # Never O_PATH, O_TMPFILE or O_ASYNC; never O_TRUNC without writing, which older Landlocks let through.
    (Condition(2, within=_WRITING | _WRONLY, all_of=_WRONLY),),
    (Condition(2, within=_WRITING | _RDWR, all_of=_RDWR),),
)
"""Allowed where Landlock says which files may be written."""

FREE: dict[str, tuple[int | None, int | None]] = {
    # Open files
    **{"read": (0, 63), "write": (1, 64), "close": (3, 57), "lseek": (8, 62), "readv": (19, 65), "writev": (20, 66)},
    **{"pread64": (17, 67), "pwrite64": (18, 68), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24)},
    **{"close_range": (436, 436), "pipe": (22, None), "pipe2": (293, 59), "fstat": (5, 80), "getdents64": (217, 61)},
    **{"poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "epoll_wait": (232, None)},
    **{"epoll_create": (213, None), "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_pwait": (281, 22)},
    # Names of files; what may be opened is in CHECKED and in Landlock's rules
    **{"stat": (4, None), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None)},
    **{"faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78)},
    **{"getcwd": (79, 17), "chdir": (80, 49)},
    # A pair of sockets, as asyncio makes one to wake itself; see CHECKED
    **{"getsockname": (51, 204), "getsockopt": (55, 209), "recvfrom": (45, 207), "shutdown": (48, 210)},
    # Memory
    **{"munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214), "madvise": (28, 233), "mincore": (27, 232)},
    **{"membarrier": (324, 283)},
    # Threads; making one is in CHECKED
    **{"futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "set_tid_address": (218, 96)},
    **{"sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168)},
    # Time and signals of its own
    **{"nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114)},
    **{"gettimeofday": (96, 169), "time": (201, None), "alarm": (37, None), "getitimer": (36, 102)},
    **{"setitimer": (38, 103), "pause": (34, None), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135)},
    **{"rt_sigreturn": (15, 139), "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137)},
    **{"rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "restart_syscall": (219, 128)},
    # What it is, and its end
    **{"getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175)},
    **{"getgid": (104, 176), "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150)},
    **{"getgroups": (115, 158), "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156)},
    **{"uname": (63, 160), "sysinfo": (99, 179), "times": (100, 153), "getrusage": (98, 165), "getrlimit": (97, 163)},
    **{"setrlimit": (160, 164), "getrandom": (318, 278), "wait4": (61, 260), "exit": (60, 93), "exit_group": (231, 94)},
}
"""Calls allowed with any arguments: numbers on x86_64 and aarch64, None where the architecture has no such call."""

CHECKED: dict[str, tuple[tuple[int | None, int | None], Alternatives]] = {
    "fcntl": (
        (72, 25),
        (
            (Condition(1, one_of=(_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC)),),
            (Condition(1, one_of=(_F_SETFL,)), Condition(2, within=_FILE_STATUS)),
        ),
    ),
    "ioctl": (
        (16, 29),
        ((Condition(1, one_of=(_TCGETS, _TCGETS2, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX)),),),
    ),
    "prctl": (
        (157, 167),
        ((Condition(0, one_of=(_PR_GET_DUMPABLE, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA)),),),
    ),
    "mmap": (
        (9, 222),
        ((Condition(2, within=_PROTECTION, not_all_of=_WRITE_AND_EXECUTE), Condition(3, within=_MAPPING)),),
    ),
    "mprotect": ((10, 226), ((Condition(2, within=_PROTECTION, not_all_of=_WRITE_AND_EXECUTE),),)),
    "prlimit64": ((302, 261), ((Condition(0, one_of=(0, OWN_PROCESS)),),)),
    "kill": ((62, 129), ((Condition(0, one_of=(OWN_PROCESS,)),),)),
    "tgkill": ((234, 131), ((Condition(0, one_of=(OWN_PROCESS,)),),)),
    "socketpair": (
        (53, 199),
        ((Condition(0, one_of=(_AF_UNIX,)), Condition(1, within=_SOCK_STREAM | _SOCK_FLAGS, all_of=_SOCK_STREAM)),),
    ),
    "sendto": ((44, 206), ((Condition(4, is_null=True),),)),
}
"""Calls allowed with some arguments."""

CLONE = ((56, 220), ((Condition(0, within=_THREAD | 0x400000, all_of=_THREAD),),))
"""Making a thread as C libraries do; 0x400000, CLONE_DETACHED, is musl's and has no meaning any more."""
OPENAT, OPEN = (257, 56), (2, None)

ABSENT: dict[str, tuple[int | None, int | None]] = {"clone3": (435, 435), "openat2": (437, 437)}
"""Calls that answer ENOSYS, so that C libraries use the older ones, whose arguments can be checked."""
FIRST_UNKNOWN = 450
"""So do all from here on, which are newer than this list; on x86_64 also the second, 32-bit numbering."""
