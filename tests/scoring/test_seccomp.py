"""The filter, run instruction by instruction as the kernel would, for both machines on either one."""

import errno
import functools
import struct

import pytest

from lm_eval_mdlm.scoring.isolated.seccomp import filter_program, thread_notice


X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
ALLOWED, KILLED, ASKED = "allowed", "killed", "asked"
OWN = 4321
MACHINES = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
NUMBERS = {  # of the calls whose arguments are checked, by the kernel's tables
    "x86_64": {
        **{"openat": 257, "fcntl": 72, "ioctl": 16, "prctl": 157, "mmap": 9, "mprotect": 10, "prlimit64": 302},
        **{"kill": 62, "tgkill": 234, "clone": 56, "socketpair": 53, "sendto": 44},
    },
    "aarch64": {
        **{"openat": 56, "fcntl": 25, "ioctl": 29, "prctl": 167, "mmap": 222, "mprotect": 226, "prlimit64": 261},
        **{"kill": 129, "tgkill": 131, "clone": 220, "socketpair": 199, "sendto": 206},
    },
}


def run(rules: bytes, machine: str, number: int, *arguments: int, architecture: int | None = None) -> int | str:
    """What a filter says: an errno, or one of the words above."""
    architecture = architecture or {"x86_64": X86_64, "aarch64": AARCH64}[machine]
    whole = [argument % (1 << 64) for argument in arguments]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *whole, *[0] * (6 - len(whole)))
    program = list(struct.iter_unpack("<HBBI", rules))
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            kinds = {0x7FFF0000: ALLOWED, 0x80000000: KILLED, 0x7FC00000: ASKED, 0x00050000: value & 0xFFFF}
            return kinds[value & 0xFFFF0000]
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            position += if_true if holds else if_false


@functools.cache
def _rules(machine: str, writing: bool, threads: bool) -> bytes:
    return filter_program(machine, process=OWN, writing=writing, threads=threads)


def answer(
    machine: str, number: int, *arguments: int, writing: bool = False, threads: bool = False, **foreign: int
) -> int | str:
    return run(_rules(machine, writing, threads), machine, number, *arguments, **foreign)


def by_name(machine: str, name: str, *arguments: int, **options: bool) -> int | str:
    return answer(machine, NUMBERS[machine][name], *arguments, **options)


@pytest.mark.parametrize(
    ("machine", "numbers"),
    [
        (
            "x86_64",
            {
                "socket": 41,
                "clone": 56,
                "fork": 57,
                "execve": 59,
                "kill": 62,
                "unlink": 87,
                "ptrace": 101,
            },
        ),
        (
            "aarch64",
            {"socket": 198, "clone": 220, "execve": 221, "kill": 129, "unlinkat": 35, "ptrace": 117},
        ),
    ],
)
def test_forbidden_calls_fail_with_eperm(machine, numbers):
    assert {name: answer(machine, number) for name, number in numbers.items()} == dict.fromkeys(numbers, errno.EPERM)


@pytest.mark.parametrize(
    ("machine", "numbers"),
    [
        ("x86_64", {"read": 0, "write": 1, "mmap": 9, "brk": 12, "getpid": 39, "exit_group": 231, "getrandom": 318}),
        (
            "aarch64",
            {"read": 63, "write": 64, "mmap": 222, "brk": 214, "getpid": 172, "exit_group": 94, "getrandom": 278},
        ),
    ],
)
def test_computing_is_allowed(machine, numbers):
    assert {name: answer(machine, number) for name, number in numbers.items()} == dict.fromkeys(numbers, ALLOWED)


@pytest.mark.parametrize(("machine", "openat"), [("x86_64", 257), ("aarch64", 56)])
def test_files_open_for_reading_only(machine, openat):
    here = (1 << 64) - 100  # AT_FDCWD
    reading, writing, both, create, truncate, cloexec = 0, 1, 2, 0o100, 0o1000, 0o2000000
    assert answer(machine, openat, here, 5, reading | cloexec) == ALLOWED
    for flags in (writing, both, reading | create, reading | truncate, writing | cloexec):
        assert answer(machine, openat, here, 5, flags) == errno.EPERM


@MACHINES
def test_only_what_is_listed_is_allowed(machine):
    """Counted against a list of what outsiders may never do, and by how many of all numbers pass at all."""
    passing = {number for number in range(450) if answer(machine, number) == ALLOWED}
    never = {
        "x86_64": [101, 165, 166, 169, 170, 171, 175, 246, 272, 298, 303, 304, 310, 311, 317, 321, 323, 425, 428, 438],
        "aarch64": [117, 40, 39, 142, 161, 162, 105, 104, 97, 241, 264, 265, 270, 271, 277, 280, 282, 425, 428, 438],
    }[machine]
    assert not passing & {*never}
    assert 60 < len(passing) < 120
    assert {answer(machine, number) for number in {*range(450)} - passing} == {errno.EPERM, errno.ENOSYS}


@MACHINES
def test_files_open_for_writing_where_something_else_says_which(machine):
    here, write, both, create, truncate, path, temporary, asynchronous = (
        *(-100, 1, 2, 0o100, 0o1000, 0o10000000, 0o20200000, 0o20000),
    )
    for flags in (write | create | truncate, both, write | 0o2000, both | 0o2000000):
        assert by_name(machine, "openat", here, 5, flags, writing=True) == ALLOWED
        assert by_name(machine, "openat", here, 5, flags) == errno.EPERM
    for flags in (3, 3 | truncate, truncate, create, path, both | temporary, asynchronous, write | asynchronous):
        assert by_name(machine, "openat", here, 5, flags, writing=True) == errno.EPERM


@MACHINES
def test_signals_and_limits_reach_the_process_itself_alone(machine):
    for name in ("kill", "tgkill"):
        assert by_name(machine, name, OWN, 9) == ALLOWED
        for other in (0, 1, -1, -OWN, OWN + 1):
            assert by_name(machine, name, other, 9) == errno.EPERM
    assert by_name(machine, "prlimit64", 0) == by_name(machine, "prlimit64", OWN) == ALLOWED
    assert by_name(machine, "prlimit64", 1234) == errno.EPERM


@MACHINES
def test_no_file_is_made_to_send_signals(machine):
    set_flags, nonblocking, asynchronous = 4, 0o4000, 0o20000
    assert by_name(machine, "fcntl", 3, set_flags, nonblocking) == ALLOWED
    assert by_name(machine, "fcntl", 3, set_flags, nonblocking | asynchronous) == errno.EPERM
    allowed = [command for command in range(2048) if by_name(machine, "fcntl", 3, command, 0) == ALLOWED]
    assert allowed == [0, 1, 2, 3, 4, 1030]
    requests = [0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A]
    assert [by_name(machine, "ioctl", 3, request) for request in requests] == [ALLOWED] * len(requests)
    owners = [0x5452, 0x8901, 0x8902, 0x40086602, 0x401C5820, 0x5412, 0x5414]
    assert [by_name(machine, "ioctl", 3, request) for request in owners] == [errno.EPERM] * len(owners)


@MACHINES
def test_memory_takes_nothing_from_others_and_is_not_written_and_executed(machine):
    private, shared, locked, huge = 0x22, 0x21, 0x2000, 0x40000
    for flags in (private, shared, private | 0x20000):
        assert by_name(machine, "mmap", 0, 4096, 3, flags) == by_name(machine, "mmap", 0, 4096, 5, flags) == ALLOWED
        assert by_name(machine, "mmap", 0, 4096, 7, flags) == by_name(machine, "mmap", 0, 4096, 6, flags) == errno.EPERM
    for flags in (private | locked, private | huge):
        assert by_name(machine, "mmap", 0, 4096, 3, flags) == errno.EPERM
    assert by_name(machine, "mprotect", 0, 4096, 5) == ALLOWED
    assert by_name(machine, "mprotect", 0, 4096, 7) == errno.EPERM


@MACHINES
def test_threads_are_made_only_where_they_are_counted_and_processes_never(machine):
    thread, fork, vfork, new_user = 0x3D0F00, 0x1200011, 0x4111, 0x10000000
    assert by_name(machine, "clone", thread) == errno.EPERM
    assert by_name(machine, "clone", thread, threads=True) == ALLOWED
    for flags in (0, 17, fork, vfork, thread | new_user, thread & ~0x10000, thread | 17):
        assert by_name(machine, "clone", flags, threads=True) == errno.EPERM
    assert answer(machine, 435, threads=True) == errno.ENOSYS
    notice = thread_notice(machine)
    assert run(notice, machine, NUMBERS[machine]["clone"], thread) == ASKED
    others = [number for number in range(450) if number != NUMBERS[machine]["clone"]]
    assert {run(notice, machine, number) for number in others} == {ALLOWED}


@MACHINES
def test_only_a_pair_of_streams_is_a_socket_and_it_sends_to_no_address(machine):
    unix, stream, datagram, packets, flags = 1, 1, 2, 5, 0o2004000
    assert by_name(machine, "socketpair", unix, stream | flags) == ALLOWED
    for domain, kind in ((unix, datagram), (unix, packets), (unix, 0), (2, stream), (16, stream), (unix, 3)):
        assert by_name(machine, "socketpair", domain, kind) == errno.EPERM
    assert by_name(machine, "sendto", 3, 5, 1, 0, 0, 0) == ALLOWED
    assert (
        by_name(machine, "sendto", 3, 5, 1, 0, 1 << 32, 16) == by_name(machine, "sendto", 3, 5, 1, 0, 8) == errno.EPERM
    )


@MACHINES
def test_attributes_of_the_process_stay(machine):
    assert [option for option in range(80) if by_name(machine, "prctl", option) == ALLOWED] == [3, 15, 16]


def test_unknown_calls_and_second_numbering_look_absent_and_foreign_code_is_killed():
    assert answer("x86_64", 450) == answer("aarch64", 450) == errno.ENOSYS
    assert answer("x86_64", (1 << 30) | 0) == errno.ENOSYS
    assert answer("x86_64", 1, architecture=I386) == KILLED
    assert answer("aarch64", 1, architecture=X86_64) == KILLED


def test_machine_without_a_table_is_refused():
    with pytest.raises(KeyError):
        filter_program("riscv64", process=OWN, writing=True, threads=True)
