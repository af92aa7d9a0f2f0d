"""What stands in a journal's files: lines of JSON, each sealed by a check sum, so that damage is told from absence.

A file is a header line and one line per record, in the order in which they were added:

    {"mdlm_journal":1,"package":"0.1.0","sum":"5d1f2c88"}
    {"key":"9b1c...","value":{"nfe":32},"sum":"0c6be3f7"}

The sum is the CRC-32 of all bytes of the line before `,"sum"`. The last line may be torn: whatever follows the last
line end was being written when the process or its disk failed, and is no record.
"""

import json
import re
import zlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UsageError
from ..files import only_a_file


SUFFIX = ".mdlm-journal"
FORMAT = 1
"""Of the lines; later ones keep the header's first name and its number, by which older packages refuse the file."""
_HEADER = b'{"mdlm_journal":'
_KEY, _VALUE = b'{"key":"', b'","value":'
_SEAL = b',"sum":"%08x"}\n'
_SEAL_LENGTH = len(_SEAL % 0)


def header() -> bytes:
    """The first line of a file of this package."""
    return _sealed(_compact({"mdlm_journal": FORMAT, "package": package_version()}))


def package_version() -> str:
    """Of this package."""
    try:
        return version("lm-eval-mdlm")
    except PackageNotFoundError:  # run from a folder that nobody installed
        return "unknown"


def line_of(key: str, value: Any) -> bytes:
    """A record's line.

    Raises:
        TypeError: For a value that is no JSON.
    """
    return _sealed(b'{"key":%s,"value":%s}' % (_compact(key), _compact(value)))


def keyed_lines(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Key and line of every record in a whole file."""
    for line in content.splitlines(keepends=True)[1:]:
        yield json.loads(line)["key"], line


def value_in(line: bytes) -> Any:
    """The value of a line that `records_of` has accepted."""
    return json.loads(line)["value"]


def is_sound(line: bytes) -> bool:
    """Whether nothing about the line has changed since it was written."""
    body = memoryview(line)[:-_SEAL_LENGTH]
    return line.endswith(_SEAL % zlib.crc32(body)) and len(body) > 0


def same_value(one: bytes, other: bytes) -> bool:
    """Whether two sound lines hold the same value; 1, 1.0 and true are different ones, the order of names is none."""
    return one == other or _ordered(one) == _ordered(other)


def records_of(path: Path) -> Iterator[tuple[str, int, int]]:
    """Key, offset and length in bytes of every record of a file, in its order; reads it once, line by line.

    Raises:
        UsageError: For a file that is damaged, foreign, of a newer package, or unreadable.
    """
    try:
        with open(only_a_file(path), "rb") as file:
            yield from _records(path, file)
    except OSError as error:
        raise UsageError(f"journal file {path} cannot be read: {error.strerror}; make it readable.") from None


def _records(path: Path, file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    offset = 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            _check_torn(path, number, line)
            return  # whatever else comes is the rest of it: another process is writing just now
        elif number == 1:
            _check_header(path, line)
        else:
            key = _key_in(line) if is_sound(line) else None
            if key is None:
                raise _damage(path, number)
            yield key, offset, len(line)
        offset += len(line)


def _check_torn(path: Path, number: int, line: bytes) -> None:
    """Of a line that was cut nothing stands after a seal; else a line end was lost, and a record with it."""
    if number == 1 and not (line.startswith(_HEADER) or _HEADER.startswith(line)):
        raise _foreign(path)
    for seal in re.finditer(rb',"sum":"[0-9a-f]{8}"}', line):
        if seal.end() < len(line) and is_sound(line[: seal.end()] + b"\n"):
            raise _damage(path, number)


def _check_header(path: Path, line: bytes) -> None:
    number = re.match(re.escape(_HEADER) + rb"(\d{1,9}),", line)
    if number is None:
        raise _foreign(path)
    if int(number[1]) > FORMAT:
        raise UsageError(
            f"journal file {path}, line 1 has format {int(number[1])} of a newer lm_eval_mdlm, and this one reads "
            f"up to {FORMAT}; upgrade, or name another folder."
        )
    if int(number[1]) != FORMAT or not is_sound(line):
        raise _damage(path, 1)


def _foreign(path: Path) -> UsageError:
    return UsageError(f"journal file {path}, line 1 is no header of a journal; move the file to another folder.")


def _damage(path: Path, number: int) -> UsageError:
    return UsageError(
        f"journal file {path}, line {number} is damaged: it does not match its check sum. Restore the file, or delete "
        "it, and its requests are decoded again."
    )


def _key_in(line: bytes) -> str | None:
    end = line.find(_VALUE)  # the first one: within a JSON text no quotation mark stands without a backslash
    if not line.startswith(_KEY) or end < 0:
        return None
    key: str = json.loads(line[len(_KEY) - 1 : end + 1])
    return key


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _sealed(text: bytes) -> bytes:
    body = text[:-1]  # without the closing brace, which follows the sum
    return body + _SEAL % zlib.crc32(body)


def _ordered(line: bytes) -> str:
    return json.dumps(value_in(line), sort_keys=True)
