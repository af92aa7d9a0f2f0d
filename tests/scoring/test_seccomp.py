"""The filter, run instruction by instruction as the kernel would, for both machines on either one."""

import errno
import struct

import pytest

from lm_eval_mdlm.scoring.isolated.seccomp import filter_program


X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
ALLOWED, KILLED = "allowed", "killed"


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int | str:
    """What the filter says: an errno, `allowed` or `killed`."""
    architecture = architecture or {"x86_64": X86_64, "aarch64": AARCH64}[machine]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("<HBBI", filter_program(machine)))
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            kinds = {0x7FFF0000: ALLOWED, 0x80000000: KILLED, 0x00050000: value & 0xFFFF}
            return kinds[value & 0xFFFF0000]
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            position += if_true if holds else if_false


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
                "clone3": 435,
            },
        ),
        (
            "aarch64",
            {"socket": 198, "clone": 220, "execve": 221, "kill": 129, "unlinkat": 35, "ptrace": 117, "clone3": 435},
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


def test_own_limits_may_be_read_and_those_of_others_not_touched():
    assert answer("x86_64", 302, 0) == ALLOWED
    assert answer("x86_64", 302, 1234) == errno.EPERM


def test_unknown_calls_and_second_numbering_look_absent_and_foreign_code_is_killed():
    assert answer("x86_64", 450) == answer("aarch64", 450) == errno.ENOSYS
    assert answer("x86_64", (1 << 30) | 0) == errno.ENOSYS
    assert answer("x86_64", 1, architecture=I386) == KILLED
    assert answer("aarch64", 1, architecture=X86_64) == KILLED


def test_machine_without_a_table_is_refused():
    with pytest.raises(KeyError):
        filter_program("riscv64")
