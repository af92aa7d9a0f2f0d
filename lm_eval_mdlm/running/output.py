"""A file of lines that is there as a whole or not at all, and that no other run's lines get into."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import only_a_file
from .room import check_takes


RUN = "run"
"""Key of every line: a digest of what determines all lines of the file."""


def check_output(path: Path) -> None:
    """UsageError unless lines can be written to `path`, or a run wrote it already; before anything is computed."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--output {path}: the folder {folder} does not exist; make it.")
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder; name a file.")
    if not path.exists():
        check_takes(folder, f"--output {path}")
    elif _run_of(path) is None:
        raise UsageError(f"--output {path} exists and was not written by this command; name another file.")


def is_complete(path: Path, run: str, num_lines: int) -> bool:
    """Whether the file holds this very run's lines; False if there is none.

    Raises:
        UsageError: If it belongs to another run: a line's digest is another, or lines are missing or too many.
    """
    if not path.exists():
        return False
    if _run_of(path) != (run, num_lines):
        raise UsageError(
            f"--output {path} belongs to another run, by the digest of checkpoint, prompts, answers and options in its "
            f"lines; name another file, or remove it."
        )
    return True


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """JSON Lines, UTF-8. Whoever looks meanwhile, or after a kill, finds no file rather than a part of one.

    Raises:
        UsageError: If there is no room; nothing is left behind then.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        # Half a surrogate pair, which no UTF-8 has, is left as JSON's own escape.
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise UsageError(
            f"--output {path} cannot be written ({error.strerror}); make room, or name another."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _run_of(path: Path) -> tuple[str, int] | None:
    """The digest that all lines share, and their number; None if they do not share one."""
    digests = []
    try:
        with only_a_file(path).open(encoding="utf-8") as lines:
            for line in lines:
                found = json.loads(line)
                digests.append(found.get(RUN) if isinstance(found, dict) else None)
    except (OSError, ValueError, RecursionError):
        return None
    same = {*digests}
    return (str(digests[0]), len(digests)) if len(same) == 1 and None not in same else None
