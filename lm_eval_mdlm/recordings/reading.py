"""Reads the folder of a recording: every row once, whichever processes and runs wrote it."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError
from .members import SUFFIX, Header, read_file, row_id_in
from .steps import Steps


def header_of(folder: Path) -> Header | None:
    """That all files of a folder share; None where no file has one.

    Raises:
        UsageError: If the files belong to several runs, or one is foreign or of a newer package.
    """
    known: tuple[Path, Header] | None = None
    for path in _paths(folder):
        header = next(read_file(path), None)
        if not isinstance(header, Header):
            continue
        if known is not None and known[1].run != header.run:
            raise UsageError(
                f"{folder} holds recordings of different runs, {known[0].name} and {path.name}; move the files of one "
                f"of them to another folder."
            )
        known = known or (path, header)
    return None if known is None else known[1]


def lines_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """File and line of every row, once: a row that was under way twice may be stored twice.

    Raises:
        UsageError: If a file is damaged, or has other steps for a row than another one.
    """
    seen: dict[str, bytes] = {}
    for path in _paths(folder):
        for line in read_file(path):
            if isinstance(line, Header):
                continue
            row, digest = row_id_in(line), hashlib.blake2b(line, digest_size=8).digest()
            first = seen.setdefault(row, digest)
            if first != digest:
                raise UsageError(
                    f"recording {path} has other steps for row {row:.8} than another file of its folder; results must "
                    f"not depend on the run, so delete the file that you trust less."
                )
            if first is digest:
                yield path, line


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


class Recording:
    """A folder that `record_steps` wrote, read row by row: in the order of its files, and of the rows in each.

    Args:
        folder: Of the recording.

    Raises:
        UsageError: If it holds no recorded row, rows of several runs, or a damaged file.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        header = header_of(self.folder)
        if header is None:
            raise UsageError(
                f"{self.folder} holds no recorded row; name the folder of a run that had record_steps=DIR among its "
                f"--model_args."
            )
        self.header = header

    def __iter__(self) -> Iterator[Steps]:
        for path, line in lines_of(self.folder):
            try:
                yield Steps.from_plain(json.loads(line))
            except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
                raise UsageError(
                    f"recording {path}, row {row_id_in(line):.8} has no sound steps ({type(error).__name__}: {error}); "
                    f"record it again."
                ) from None

    def rows(self) -> list[Steps]:
        """All of them, ordered by task, document and repeat.

        Raises:
            UsageError: If there is none.
        """
        found = list(self)
        if not found:
            raise UsageError(f"{self.folder} holds no whole row; let its run finish one.")
        return sorted(found, key=_order)


def _order(row: Steps) -> tuple[str, int, int, str]:
    return row.task or "", -1 if row.doc_id is None else row.doc_id, row.repeat, row.key


def read_steps(folder: str | os.PathLike[str]) -> list[Steps]:
    """All rows of a recording, ordered by task, document and repeat.

    Args:
        folder: That was named as `record_steps`.

    Raises:
        UsageError: If it holds no recorded row, rows of several runs, or a damaged file.
    """
    return Recording(folder).rows()
