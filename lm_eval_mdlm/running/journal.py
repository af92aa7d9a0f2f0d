"""A store of finished results in a folder, which outlives kills, full disks and changes in how many processes run.

Nothing here knows what is stored: keys are texts, values are JSON. Every process of every run appends to a file of its
own, so any number may write into one folder at a time, on a network file system too; what others add after `open` is
not seen. See `journal_lines` for what stands in the files.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import UsageError
from .journal_file import FileKind, JournalFile
from .journal_lines import SUFFIX, header, is_sound, keyed_lines, line_of, records_of, same_value, value_in
from .room import check_takes


KIND = FileKind("journal", SUFFIX, header, keyed_lines)


class Journal:
    """Values by key: those found in the folder, and those that this process adds. Made by `open`.

    Values stay in the files and are read when asked for: 100,000 records take about 30 MB of memory. A forked child,
    and a copy that was pickled, write to files of their own.
    """

    def __init__(self, directory: Path, rank: int) -> None:
        self.found = 0
        """How often `find` had a value."""
        self.added = 0
        """How many records this process has added."""
        self._directory, self._rank = directory, rank
        self._paths: list[Path] = []
        self._places: dict[str, tuple[int, int, int]] = {}
        """Number of the file, offset and length in bytes, by key."""
        self._reading: tuple[int, int] | None = None
        """Number and descriptor of the file that was read last."""
        self._own = JournalFile(KIND, directory, rank, self._place_own)

    @classmethod
    def open(cls, directory: str | os.PathLike[str], *, rank: int = 0) -> "Journal":
        """Read every file of a folder, which is made if it is not there.

        Args:
            directory: Holds the journal's files; others are left alone.
            rank: Of this process; stands in the name of its file.

        Raises:
            UsageError: If the folder cannot be read and written, or for a file in it that is damaged, foreign, or of a
                newer package, or for two records with one key and different values.
        """
        folder = Path(directory).absolute()
        check_takes(folder, f"journal={folder}")
        journal = cls(folder, rank)
        try:
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                journal._index(path)
        except BaseException:
            journal.close()
            raise
        return journal

    def find(self, key: str) -> Any | None:
        """The value that is stored under a key; None if there is none.

        Raises:
            UsageError: If its file was removed or changed since `open`.
        """
        line = self._line(key)
        if line is None:
            return None
        self.found += 1
        return value_in(line)

    def add(self, key: str, value: Any) -> None:
        """Store a value, which `find` then returns as JSON has it; one that is stored already is not written again.

        It is in the file at once and on the disk within two seconds. If the file cannot be written, a line says so, and
        the record is kept and written as soon as it can.

        Args:
            key: Says everything that determines the value.
            value: JSON, and not None. It must be the same in every run that comes to this key, so it holds no times.

        Raises:
            UsageError: If another value is stored under this key.
            TypeError: For a value that is no JSON.
        """
        if value is None:
            raise TypeError("None cannot be stored: find returns it for keys that are not there.")
        line = line_of(key, value)
        known = self._line(key)
        if known is None:
            self._own.add(key, line)
            self.added += 1
        elif not same_value(known, line):
            where = self._paths[self._places[key][0]] if key in self._places else self._directory
            raise UsageError(f"{_two_values(key)}: one in {where}, and one of this run; {_DELETE}")

    def flush(self) -> None:
        """Bring all records to the disk, as far as it has room."""
        self._own.sync()

    def close(self) -> None:
        """`flush`, and a line that tells how many records are not on the disk, if any."""
        self._own.close()
        self._close_reading()

    def __len__(self) -> int:
        """Number of records in files."""
        return len(self._places)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return _reopened, (self._directory, self._rank)

    def _index(self, path: Path) -> None:
        number = len(self._paths)
        self._paths.append(path)
        for key, offset, length in records_of(path):
            place = number, offset, length
            known = self._places.setdefault(key, place)
            if known is not place and not same_value(self._read(*known), self._read(*place)):
                raise UsageError(f"{_two_values(key)}: one in {self._paths[known[0]]} and one in {path}; {_DELETE}")

    def _place_own(self, key: str, path: Path, offset: int, length: int) -> None:
        if not self._paths or self._paths[-1] != path:
            self._paths.append(path)
        self._places[key] = len(self._paths) - 1, offset, length

    def _line(self, key: str) -> bytes | None:
        held = self._own.held(key)  # first: a line that is held no longer has its place
        place = self._places.get(key)
        return held or (None if place is None else self._read(*place))

    def _read(self, number: int, offset: int, length: int) -> bytes:
        path = self._paths[number]
        try:
            if self._reading is None or self._reading[0] != number:
                self._close_reading()
                self._reading = number, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            line = os.pread(self._reading[1], length, offset)
        except OSError as error:
            raise UsageError(f"journal file {path} cannot be read any more: {error.strerror}; start again.") from None
        if not is_sound(line):
            raise UsageError(f"journal file {path} was changed at byte {offset} while it was in use; start again.")
        return line

    def _close_reading(self) -> None:
        if self._reading is not None:
            os.close(self._reading[1])
            self._reading = None


_DELETE = "results must not depend on the run, so delete the file that you trust less."


def _two_values(key: str) -> str:
    return f"two results are stored for one request (key {key:.16})"


def _reopened(directory: Path, rank: int) -> Journal:
    return Journal.open(directory, rank=rank)
