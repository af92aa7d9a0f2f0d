"""The JSON file that a command keeps what it found in."""

import json
from pathlib import Path

from ..errors import UsageError
from ..files import only_a_file
from ..running.room import check_takes


def check_kept_file(path: Path | None, kind: str) -> None:
    """UsageError if a file cannot be written there, or another program's would be replaced.

    Args:
        path: What `--output` names; None for nothing to be kept.
        kind: A key that all files of this command have.
    """
    if path is None:
        return
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise UsageError(f"--output {path} must be a file in a folder that is there; correct it.")
    check_takes(path.absolute().parent, f"--output {path}")
    if path.exists():
        try:
            ours = kind in json.loads(only_a_file(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, RecursionError):
            ours = False
        if not ours:
            raise UsageError(f"--output {path} exists and was not written by this command; name another file.")
