"""Messages between two processes of which one is not trusted: bytes behind their length, over pipes."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass


MAX_VALUE_BYTES = 1 << 24
MAX_MESSAGE_BYTES = 2 * MAX_VALUE_BYTES  # with what is told beside the value
MAX_REASON_CHARACTERS = 200


class TooLong(Exception):
    """A message is over the limit."""


@dataclass(frozen=True)
class Channel:
    """One end of two pipes."""

    source: int
    sink: int
    wait: Callable[[int], None] = lambda source: None
    """Called before every read from `source`; may do other work until there is something to read."""

    def send(self, body: bytes) -> None:
        """Write one message; TooLong, and nothing is written, or BrokenPipeError if the other end is gone."""
        if len(body) > MAX_MESSAGE_BYTES:
            raise TooLong(f"a message of {len(body)} bytes is over the limit of {MAX_MESSAGE_BYTES}")
        rest = memoryview(struct.pack("=Q", len(body)) + body)
        while rest:
            rest = rest[os.write(self.sink, rest) :]

    def receive(self) -> bytes:
        """Read one message; EOFError if the other end is gone, TooLong if it announces too much."""
        (length,) = struct.unpack("=Q", self._read(8))
        if length > MAX_MESSAGE_BYTES:
            raise TooLong(f"a message of {length} bytes is over the limit of {MAX_MESSAGE_BYTES}")
        return self._read(length)

    def _read(self, length: int) -> bytes:
        body = bytearray()
        while len(body) < length:
            self.wait(self.source)
            chunk = os.read(self.source, length - len(body))
            if not chunk:
                raise EOFError
            body += chunk
        return bytes(body)


def describe(error: BaseException) -> str:
    """An exception in one short line, whatever its text does."""
    try:
        text = str(error)[: 10 * MAX_REASON_CHARACTERS]
    except BaseException:
        text = ""
    return " ".join(f"{type(error).__name__}: {text}".split())[:MAX_REASON_CHARACTERS].rstrip(": ")
