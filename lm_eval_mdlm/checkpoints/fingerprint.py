"""A short name for a checkpoint's content, so that a record or a cache notices weights that were replaced."""

import hashlib
from pathlib import Path

from .weights import weight_files


SAMPLES = 256
SAMPLE_BYTES = 4096


def fingerprint(folder: Path) -> str:
    """32 hexadecimal digits from config.json and evenly spaced samples of every weight file.

    Training changes all weights, so samples of 1 MiB a file tell checkpoints apart without reading gigabytes; an
    edit of a few single weights could go unnoticed.
    """
    digest = hashlib.blake2b((folder / "config.json").read_bytes(), digest_size=16)
    for path in weight_files(folder):
        size = path.stat().st_size
        digest.update(repr((path.name, size)).encode())
        with path.open("rb") as file:
            for i in range(SAMPLES):
                file.seek(i * max(size - SAMPLE_BYTES, 0) // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
