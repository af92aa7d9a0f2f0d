"""Plain values between two processes of which one is not trusted."""

import io
import os
import pickle
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


MAX_MESSAGE_BYTES = 1 << 24
MAX_REASON_CHARACTERS = 200
SIMPLE: tuple[Any, ...] = (bool, int, float, complex, str, bytes)
CONTAINERS: tuple[Any, ...] = (list, tuple, set, frozenset)


class ProgramError(Exception):
    """The program raised, died or answered nonsense; the text says which."""


@dataclass(frozen=True)
class Channel:
    """One end of two pipes; a message is a pickle behind its length."""

    source: int
    sink: int

    def send(self, message: Any) -> None:
        """Write one message; BrokenPipeError if the other end is gone."""
        body = pickle.dumps(message)
        rest = memoryview(struct.pack("=Q", len(body)) + body)
        while rest:
            rest = rest[os.write(self.sink, rest) :]

    def receive(self, unpickler: type[pickle.Unpickler] = pickle.Unpickler) -> Any:
        """Read one message; EOFError if the other end is gone, ProgramError if it is too long."""
        (length,) = struct.unpack("=Q", self._read(8))
        if length > MAX_MESSAGE_BYTES:
            raise ProgramError(f"a result of {length} bytes is over the limit of {MAX_MESSAGE_BYTES}")
        return unpickler(io.BytesIO(self._read(length))).load()

    def _read(self, length: int) -> bytes:
        body = bytearray()
        while len(body) < length:
            chunk = os.read(self.source, length - len(body))
            if not chunk:
                raise EOFError
            body += chunk
        return bytes(body)


class PlainUnpickler(pickle.Unpickler):
    """Reads values of built-in types and refuses every class and function, hence all code."""

    def find_class(self, module: str, name: str, /) -> Any:
        """`complex` is the one plain type that pickles as a call."""
        if (module, name) == ("builtins", "complex"):
            return complex
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def plain(value: Any) -> Any:
    """`value` with built-in types only; TypeError for what has no such form.

    Subclasses become their base, numpy's scalars Python's, and other numbers a float, so that `Counter`, `namedtuple`,
    `Fraction` and the like compare as they would in one process.
    """
    if value is None or type(value) in SIMPLE:
        return value
    for kind in SIMPLE:
        if isinstance(value, kind):
            return kind(value)
    for container in CONTAINERS:
        if isinstance(value, container):
            return container(plain(item) for item in value)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if callable(getattr(value, "item", None)):  # of numpy and torch
        return plain(value.item())
    if hasattr(value, "__float__"):
        return float(value)
    raise TypeError(f"the result, {type(value).__name__}, is not plain data")


def answer(result: Any) -> tuple[str, Any]:
    """A result as a message; generators, ranges, maps and views as the items they yield."""
    if isinstance(result, Iterable) and not isinstance(result, (str, bytes, dict, *CONTAINERS)):
        return "items", [plain(item) for item in result]
    return "value", plain(result)


def describe(error: BaseException) -> str:
    """An exception in one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON_CHARACTERS].rstrip(": ")
