"""What may be opened where a file is expected."""

import errno
import os
import stat
from pathlib import Path


def only_a_file(path: str | os.PathLike[str]) -> Path:
    """The path, to be opened at once: from a pipe or a device one might wait for ever, or read for ever.

    Raises:
        OSError: If it is one, or is not there; what is a folder, `open` refuses itself.
    """
    kind = os.stat(path).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise OSError(errno.EINVAL, "a pipe or a device, and no file", str(path))
    return Path(path)
