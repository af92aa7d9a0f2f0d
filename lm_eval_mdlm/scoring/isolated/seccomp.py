"""Writes the system-call filter of `system_calls` as classic BPF for the Linux kernel (seccomp(2)), and installs it.

Calls that are not allowed fail with EPERM, so Python raises PermissionError. A filter binds the process and all its
threads, and cannot be taken off again.
"""

import ctypes
import errno
import platform
import struct

from .kernel import system_call
from .system_calls import (
    ABSENT,
    ANYHOW,
    ARCHITECTURES,
    CHECKED,
    CLONE,
    FIRST_UNKNOWN,
    FREE,
    OPEN,
    OPEN_FOR_READING,
    OPEN_FOR_WRITING,
    OPENAT,
    OWN_PROCESS,
    Alternatives,
    Condition,
)


_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT = 0x15, 0x35, 0x45
_ALLOW, _NOTIFY, _FAIL, _KILL_PROCESS = 0x7FFF0000, 0x7FC00000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data
_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3

Instruction = tuple[int, int, int, int]
"""Code, value, and how many instructions are skipped if a jump's condition holds and if it does not."""


def filter_program(machine: str, *, process: int, writing: bool, threads: bool) -> bytes:
    """The filter: an array of `struct sock_filter`, 8 bytes each.

    Args:
        machine: A key of ARCHITECTURES.
        process: Number of the process that will be confined, as it sees it.
        writing: Files may be opened for writing, since something else says which.
        threads: Threads may be made, since something else counts them.

    Raises:
        KeyError: For a machine that is not in ARCHITECTURES.
    """
    architecture, column, _ = ARCHITECTURES[machine]
    rules: list[tuple[int | None, list[Instruction]]] = []
    rules += [(numbers[column], [_verdict(errno.ENOSYS)]) for numbers in ABSENT.values()]
    rules += [(numbers[column], _body(ANYHOW, process)) for numbers in FREE.values()]
    rules += [(numbers[column], _body(alternatives, process)) for numbers, alternatives in CHECKED.values()]
    opening = (OPEN_FOR_READING, *(OPEN_FOR_WRITING if writing else ()))
    rules += [(OPENAT[column], _body(opening, process)), (OPEN[column], _body(_one_earlier(opening), process))]
    if threads:
        rules.append((CLONE[0][column], _body(CLONE[1], process)))
    program = _prologue(architecture)
    for number, body in rules:
        if number is not None:
            program += [(_JUMP_EQUAL, number, 0, len(body)), *body]
    return _assembled([*program, _verdict(errno.EPERM)])


def thread_notice(machine: str) -> bytes:
    """A filter that asks whoever holds its descriptor about each new thread or process, and allows all else."""
    architecture, column, _ = ARCHITECTURES[machine]
    clone = CLONE[0][column]
    assert clone is not None
    ask: list[Instruction] = [(_JUMP_EQUAL, clone, 0, 1), (_RETURN, _NOTIFY, 0, 0), (_RETURN, _ALLOW, 0, 0)]
    return _assembled([*_prologue(architecture), *ask])


def install(rules: bytes, *, listener: bool = False) -> int:
    """Bind this process, single-threaded so far, to a filter; OSError if the kernel refuses.

    Returns:
        With `listener`, the descriptor at which a `thread_notice` is read.
    """
    instructions = ctypes.create_string_buffer(rules, len(rules))
    program = struct.pack("@HP", len(rules) // 8, ctypes.addressof(instructions))  # struct sock_fprog
    number = ARCHITECTURES[platform.machine()][2]
    return system_call(number, _SET_MODE_FILTER, _NEW_LISTENER if listener else 0, program)


def _prologue(architecture: int) -> list[Instruction]:
    return [
        (_LOAD, _ARCHITECTURE_AT, 0, 0),
        (_JUMP_EQUAL, architecture, 1, 0),
        (_RETURN, _KILL_PROCESS, 0, 0),
        (_LOAD, _NUMBER_AT, 0, 0),
        (_JUMP_AT_LEAST, FIRST_UNKNOWN, 0, 1),
        _verdict(errno.ENOSYS),
    ]


def _verdict(error: int) -> Instruction:
    return _RETURN, _FAIL | error, 0, 0


def _body(alternatives: Alternatives, process: int) -> list[Instruction]:
    """What decides about one call: one stretch per alternative, which falls through to the next if it does not hold."""
    body: list[Instruction] = []
    for conditions in alternatives:
        tests = [test for condition in conditions for test in _tests(condition, process)]
        body += [*_jumping_out(tests), (_RETURN, _ALLOW, 0, 0)]
    return [*body, _verdict(errno.EPERM)] if alternatives != ANYHOW else body


def _tests(condition: Condition, process: int) -> list[list[Instruction]]:
    """Stretches of instructions of which the last jumps; its skips are 0 where it holds and 1 where it does not."""
    low, high = _ARGUMENTS_AT + 8 * condition.argument, _ARGUMENTS_AT + 8 * condition.argument + 4  # little-endian
    tests: list[list[Instruction]] = []
    if condition.one_of is not None:
        values = [process if value == OWN_PROCESS else value for value in condition.one_of]
        last = len(values) - 1
        chain = [(_JUMP_EQUAL, value, last - place, 0 if place < last else 1) for place, value in enumerate(values)]
        tests.append([(_LOAD, low, 0, 0), *chain])
    if condition.within is not None:
        tests.append([(_LOAD, low, 0, 0), (_JUMP_ANY_BIT, ~condition.within & 0xFFFFFFFF, 1, 0)])
    if condition.all_of is not None:
        bits = condition.all_of
        tests.append([(_LOAD, low, 0, 0), (_AND, bits, 0, 0), (_JUMP_EQUAL, bits, 0, 1)])
    if condition.not_all_of is not None:
        bits = condition.not_all_of
        tests.append([(_LOAD, low, 0, 0), (_AND, bits, 0, 0), (_JUMP_EQUAL, bits, 1, 0)])
    if condition.is_null:
        tests += [[(_LOAD, half, 0, 0), (_JUMP_EQUAL, 0, 0, 1)] for half in (low, high)]
    return tests


def _jumping_out(tests: list[list[Instruction]]) -> list[Instruction]:
    """The tests one after the other; one that fails skips the others and the instruction behind them."""
    joined: list[Instruction] = []
    for test in reversed(tests):
        *before, (code, value, holds, fails) = test
        rest = len(joined)
        joined = [*before, (code, value, holds + rest * (holds == 1), fails + rest * (fails == 1)), *joined]
    return joined


def _one_earlier(alternatives: Alternatives) -> Alternatives:
    """For open(2), whose arguments are those of openat(2) without the first."""
    moved = [[Condition(**{**vars(c), "argument": c.argument - 1}) for c in conditions] for conditions in alternatives]
    return tuple(tuple(conditions) for conditions in moved)


def _assembled(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", code, holds, fails, value) for code, value, holds, fails in program)
