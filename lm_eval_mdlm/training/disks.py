"""Disks that are full or read-only, told in one line: libraries name neither the folder nor what is still there."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError


OF_A_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
IN_WORDS = ("PytorchStreamWriter failed writing", "No space left on device", "unexpected pos ", "Read-only file system")
"""What libraries that write by themselves say of such a disk: torch's archives, and those written in Rust."""


@contextlib.contextmanager
def told_of_disks(out: Path) -> Iterator[None]:
    """Inside, a disk that takes no more becomes a UsageError that names the run's folder and the way on."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if not _is_of_a_disk(error):
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it took no more"
        raise UsageError(
            f"--out {out} cannot be written: {why}; make room there, and the same command with --resume goes on from "
            f"the last whole checkpoint."
        ) from error


def _is_of_a_disk(error: BaseException | None) -> bool:
    """Also where a library has wrapped it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in OF_A_DISK:
            return True
        if any(words in str(error) for words in IN_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
