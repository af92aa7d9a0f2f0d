"""Objects that two processes hold in common, each its own copy, kept equal whenever a message passes.

A message lists new objects and those whose contents have changed. So a list that the program alters in place is altered
in the test, one that it returns twice is the same list twice, and one that it only copies is another. Each process
counts the references to its copies; what only the heap still knows is forgotten on both sides.

A line of a message is JSON, `[handle, kind, class, *parts]`: a part is a number, a string, true, false, null, or
`[handle]`. Numbers, strings and the three constants have no identity here, except for NaN.
"""

import json
import operator
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .exchange import TooLong
from .values import KINDS, as_number, kind_of, subclass


FOREIGN = "foreign"
"""The kind of what has no parts: functions, iterators, instances of the program's classes; only a stand-in arrives."""

_MAX_INT_BITS = 2000  # longer ones are written as hexadecimal, for which Python has no limit
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass
class Heap:
    """One side's copies."""

    first_handle: int
    """0 or 1: the parity of the handles that this side gives, for the other side must not give them."""
    stand_in: Callable[[int, str, str], Any]
    """Makes what stands for a foreign object: called with handle, name of the class, and what it can do."""
    abilities: Callable[[Any], str]
    """What a foreign object can do, told to the other side's `stand_in`."""
    objects: dict[int, Any] = field(default_factory=dict)
    exported: set[int] = field(default_factory=set)
    """Handles of this side's objects that the other side has stand-ins for."""
    _handles: dict[int, int] = field(default_factory=dict)  # by id()
    _kinds: dict[int, tuple[str, str]] = field(default_factory=dict)
    _written: dict[int, str] = field(default_factory=dict)  # the line that both sides have last agreed on, if mutable
    _parts: dict[int, list[Any]] = field(default_factory=dict)  # what it consisted of then
    _lines: dict[int, str] = field(default_factory=dict)  # of the message that is being made
    _pending: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._next = self.first_handle
        alone = {0: object()}
        self._num_own_references = sys.getrefcount(alone[0])

    def dump(self, value: Any, max_characters: int) -> tuple[str, list[str]]:
        """A part that stands for `value`, as JSON, and the lines that the other side must have.

        Raises:
            TooLong: If the lines are; as after any other exception, nothing has changed.
            TypeError: If something has no form.
        """
        self._lines, self._pending, first = {}, [], self._next
        try:
            part = _encode(self._part(value))
            self._write_pending()
            for handle, before in list(self._written.items()):
                # The very same parts cost far less to find than a line to write, where much is kept over many calls.
                if not _same(KINDS[self._kinds[handle][0]].parts(self.objects[handle]), self._parts[handle]):
                    if (line := self._line(handle)) != before:
                        self._lines[handle] = line
                    self._write_pending()
            if (length := sum(map(len, (part, *self._lines.values())))) > max_characters:
                raise TooLong(f"a value of {length} bytes is over the limit of {max_characters}")
        except BaseException:
            self.forget(range(first, self._next, 2))
            raise
        for handle, line in self._lines.items():
            if self._is_mutable(handle):
                self._agree(handle, line)
        return part, list(self._lines.values())

    def load(self, lines: Iterable[str]) -> None:
        """Take over what the other side has written; any kind of exception if it is malformed."""
        fresh: list[tuple[int, str, list[Any]]] = []
        known: list[tuple[int, str, list[Any]]] = []
        for line in lines:
            handle, name, class_name, *parts = json.loads(line)
            if type(handle) is int and handle in self._kinds:
                if self._kinds[handle] != (name, class_name) or not self._is_mutable(handle):
                    raise ValueError(f"{handle} is already {self._kinds[handle]}")
                known.append((handle, line, parts))
            elif type(handle) is not int or handle < 0 or handle % 2 == self.first_handle:
                raise ValueError(f"{handle!r} is not for the other side to give")
            else:
                self._kinds[handle] = (name, class_name)
                fresh.append((handle, line, parts))
        # Mutable ones first, still empty, because immutable ones may hold them; those come in an order in which each
        # holds only earlier ones.
        for mutable in (True, False):
            for handle, _, parts in fresh:
                if self._is_mutable(handle) is mutable:
                    self._register(handle, self._made(handle, parts))
        for handle, line, parts in [*known, *fresh]:
            if self._is_mutable(handle):
                kind = KINDS[self._kinds[handle][0]]
                assert kind.fill
                kind.fill(self.objects[handle], [self.value(part) for part in parts[kind.num_fixed :]])
                self._agree(handle, line)

    def value(self, part: Any) -> Any:
        """What a part stands for."""
        if type(part) is list:
            (handle,) = part
            return self.objects[handle]
        if part is None or type(part) in (bool, int, float, str):
            return part
        raise ValueError(f"{type(part)} is no part")

    def sweep(self) -> list[int]:
        """Forget what only the heap still knows; the handles, for the other side to forget them too."""
        swept: list[int] = []
        while idle := [handle for handle in list(self.objects) if self._forget_if_idle(handle)]:
            swept += idle
        return swept

    def forget(self, handles: Iterable[int]) -> None:
        """Let go of objects that the other side no longer knows."""
        for handle in handles:
            if handle in self.objects:
                del self._handles[id(self.objects[handle])]
            for table in (self.objects, self._kinds, self._written, self._parts):
                table.pop(handle, None)
            self.exported.discard(handle)

    def _forget_if_idle(self, handle: int) -> bool:
        # Not into a local variable, which would be one more reference.
        if handle in self.exported or sys.getrefcount(self.objects[handle]) > self._num_own_references:
            return False
        self.forget([handle])
        return True

    def _agree(self, handle: int, line: str) -> None:
        self._written[handle] = line
        self._parts[handle] = list(KINDS[self._kinds[handle][0]].parts(self.objects[handle]))

    def _is_mutable(self, handle: int) -> bool:
        name = self._kinds[handle][0]
        return name != FOREIGN and KINDS[name].fill is not None

    def _register(self, handle: int, value: Any) -> None:
        self.objects[handle] = value
        self._handles[id(value)] = handle

    def _part(self, value: Any) -> Any:
        cls = type(value)
        if value is None or cls is bool or cls is str or (cls is float and value == value):
            return value
        if cls is int and value.bit_length() <= _MAX_INT_BITS:
            return value
        if id(value) in self._handles:
            return [self._handles[id(value)]]
        found = kind_of(value)
        if found is None and (number := as_number(value)) is not None:
            return self._part(number)
        return [self._give_handle(value, found)]

    def _give_handle(self, value: Any, found: tuple[str, str] | None) -> int:
        handle, self._next = self._next, self._next + 2
        self._register(handle, value)
        self._kinds[handle] = found or (FOREIGN, type(value).__name__)
        if found is None:
            self.exported.add(handle)
        if self._is_mutable(handle):
            self._pending.append(handle)
        else:
            self._lines[handle] = self._line(handle)
        return handle

    def _write_pending(self) -> None:
        while self._pending:
            handle = self._pending.pop()
            self._lines[handle] = self._line(handle)

    def _line(self, handle: int) -> str:
        value, (name, class_name) = self.objects[handle], self._kinds[handle]
        if name == FOREIGN:
            return _encode([handle, name, class_name, self.abilities(value)])
        kind = KINDS[name]
        parts = [self._part(part) for part in kind.parts(value)]
        if kind.unordered:
            parts.sort(key=_encode)
        return _encode([handle, name, class_name, *parts])

    def _made(self, handle: int, parts: list[Any]) -> Any:
        name, class_name = self._kinds[handle]
        if name == FOREIGN:
            (abilities,) = parts
            return self.stand_in(handle, class_name, abilities)
        kind = KINDS[name]
        cls = subclass(kind.type, class_name) if class_name else kind.type
        if kind.fill:
            return kind.make(cls, *map(self.value, parts[: kind.num_fixed]))
        return kind.make(cls, *map(self.value, parts))


def _same(parts: Iterable[Any], before: list[Any]) -> bool:
    parts = list(parts)
    return len(parts) == len(before) and all(map(operator.is_, parts, before))
