"""What stands in a recording's files: one line of JSON in each gzip member, the first of which names the run.

A member carries its own check sum, so that a whole one is told from one that a kill cut off. To any tool that reads
gzip the files are JSON Lines:

    {"mdlm_steps":1,"package":"0.1.0","run":"5d1f...","network":{"family":"llada",...}}
    {"row":"9b1c...","key":"77ab...","task":"mdlm_demo","doc_id":3,...}
"""

import gzip
import io
import json
import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UsageError
from ..files import only_a_file


logger = logging.getLogger("lm_eval.mdlm")
SUFFIX = ".steps.jsonl.gz"
FORMAT = 1
"""Of the lines; later ones keep the header's first name and its number, by which older packages refuse the file."""
LEVEL = 6
_ROW = b'{"row":"'
_ID_LENGTH = 32
_GZIP = 31
"""zlib's window setting for one gzip member with its check sum."""
_PIECE = 2**16
MOST_BYTES = 2**26
"""Of a line; that of 32,768 tokens, each decided ten times, has a quarter of it. Gzip packs 1,000 bytes into one."""


class TooLong(ValueError):
    """A line has more than `MOST_BYTES`."""


@dataclass(frozen=True)
class Header:
    """The first line of every file of one run."""

    run: str
    """A digest of the network and of all rows that the run asked for."""
    network: Mapping[str, Any]
    """Everything about the network that a result depends on."""
    package: str
    """Version of the package that wrote the file."""

    def member(self) -> bytes:
        """As it stands in a file."""
        line = {"mdlm_steps": FORMAT, "package": self.package, "run": self.run, "network": dict(self.network)}
        return packed(json.dumps(line, separators=(",", ":")).encode())


def packed(line: bytes) -> bytes:
    """One line as a member of its own; equal lines give equal bytes."""
    return gzip.compress(line + b"\n", LEVEL, mtime=0)


_MAGIC = packed(b"")[:10]
"""What every member begins with."""


def row_line(row: str, plain: Mapping[str, Any]) -> bytes:
    """A row's line.

    Args:
        row: Its id, 32 hexadecimal digits.
        plain: Its other entries.
    """
    assert len(row) == _ID_LENGTH
    return json.dumps({"row": row, **plain}, separators=(",", ":")).encode("ascii")


def row_id_in(line: bytes) -> str:
    """The id in a row's line, without reading the rest of it."""
    return line[len(_ROW) : len(_ROW) + _ID_LENGTH].decode("ascii")


def members_in(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where each whole member ends, in bytes from the start, and its line; up to the first member that is not whole.

    Raises:
        TooLong: Before a member takes the memory.
    """
    end, ahead = 0, b""
    while True:
        decompressor, line, length = zlib.decompressobj(_GZIP), bytearray(), 0
        while not decompressor.eof:
            piece = ahead or file.read(_PIECE)
            if not piece:
                return
            ahead, length = b"", length + len(piece)
            try:
                line += decompressor.decompress(piece, MOST_BYTES + 1 - len(line))
            except zlib.error:
                return
            if len(line) > MOST_BYTES:
                raise TooLong
        ahead = decompressor.unused_data
        if not line.endswith(b"\n"):
            return
        end += length - len(ahead)
        yield end, bytes(line[:-1])


def read_file(path: Path) -> Iterator[Header | bytes]:
    """A file's header, then its rows' lines; nothing where a kill left no whole header.

    What a kill or a full disk cut off at the end is left out, and one line says so.

    Raises:
        UsageError: For a file that cannot be read, is foreign, of a newer package, or damaged before its end.
    """
    try:
        with only_a_file(path).open("rb") as file:
            end = 0
            for number, (after, line) in enumerate(members_in(file)):
                if number == 0:
                    yield _header(path, line)
                elif not line.startswith(_ROW):
                    raise _damage(path, end)
                else:
                    yield line
                end = after
            file.seek(end)
            _check_tail(path, end, file.read())
    except TooLong:
        raise UsageError(
            f"recording {path} has a row of more than {MOST_BYTES} bytes when unpacked, which no run writes; delete it."
        ) from None
    except OSError as error:
        raise UsageError(f"recording {path} cannot be read: {error.strerror}; make it readable.") from None


def _check_tail(path: Path, end: int, tail: bytes) -> None:
    """Tells a last member that was cut off, which is left out, from damage with whole members behind it."""
    if not end and not _MAGIC.startswith(tail[: len(_MAGIC)]):
        raise _foreign(path)
    later = tail.find(_MAGIC, 1)
    while later >= 0:
        if next(members_in(io.BytesIO(tail[later:])), None) is not None:
            raise _damage(path, end)
        later = tail.find(_MAGIC, later + 1)
    if tail:
        logger.warning("recording %s: its last %d bytes are no whole row and are left out.", path, len(tail))


def _header(path: Path, line: bytes) -> Header:
    try:
        found = json.loads(line)
        number = found["mdlm_steps"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _foreign(path) from None
    if number != FORMAT:
        raise UsageError(
            f"recording {path} has format {number} of a newer lm_eval_mdlm, and this one reads {FORMAT}; upgrade."
        )
    run, network, package = (found.get(name) for name in ("run", "network", "package"))
    if not isinstance(run, str) or not isinstance(network, dict) or not isinstance(package, str):
        raise _foreign(path)
    return Header(run=run, network=network, package=package)


def _foreign(path: Path) -> UsageError:
    return UsageError(f"recording {path} does not begin as one that record_steps wrote; move it to another folder.")


def _damage(path: Path, offset: int) -> UsageError:
    return UsageError(
        f"recording {path} is damaged at byte {offset}, before whole rows; restore it, or delete it and record its "
        f"rows again."
    )
