"""Whether a folder takes what is written there, found out by writing: before any pass is run, not after the last."""

import os
import tempfile
from pathlib import Path

from ..errors import UsageError


_PROBE_BYTES = 4096
"""A full disk may still have room for a name."""


def check_takes(folder: Path, named: str) -> None:
    """Make a folder, and write a little there that is gone again; permission bits tell of no mount, nor tell root.

    Args:
        folder: Made with all above it if it is not there.
        named: The option and its value, for the line.

    Raises:
        UsageError: If the folder cannot be made, or takes nothing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Where a file must have a name, the name says that it is none of the files that are kept.
        with tempfile.TemporaryFile(dir=folder, suffix=".part") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{named} cannot be written: {error.strerror}; make room, or name another.") from None
