"""A short name for a checkpoint's content, so that a record or a cache notices weights that were replaced."""

import fnmatch
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from .inside import SMALL_FILES
from .weights import weight_files


OF_NO_TOKENIZER = (
    *("config.json", "generation_config.json", "*.index.json"),
    *("training.json", "losses.json", "complete.json", "trainer_state.json"),
)
"""Small files that no tokenizer reads: of the network, whose own fingerprint has its config.json, and of trainings."""
SAMPLES = 256
SAMPLE_BYTES = 4096


def fingerprint(folder: Path) -> str:
    """32 hexadecimal digits from config.json and evenly spaced samples of every weight file.

    Training changes all weights, so samples of 1 MiB a file tell checkpoints apart without reading gigabytes; an
    edit of a few single weights could go unnoticed.
    """
    digest = hashlib.blake2b((folder / "config.json").read_bytes(), digest_size=16)
    _take_samples(digest, weight_files(folder))
    return digest.hexdigest()


def fingerprint_of_files(paths: Sequence[Path]) -> str:
    """32 hexadecimal digits from evenly spaced samples of some files, all of those that are small."""
    digest = hashlib.blake2b(digest_size=16)
    _take_samples(digest, paths)
    return digest.hexdigest()


def _take_samples(digest: "hashlib.blake2b", paths: Iterable[Path]) -> None:
    for path in paths:
        size = path.stat().st_size
        digest.update(repr((path.name, size)).encode())
        with path.open("rb") as file:
            for i in range(SAMPLES):
                file.seek(i * max(size - SAMPLE_BYTES, 0) // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))


def tokenizer_fingerprint(folder: Path) -> str | None:
    """32 hexadecimal digits from all files that decide how text becomes tokens; None where there are none.

    Which ones are read depends on the tokenizer's class and on versions, so that every small file counts of which it
    is not known that none reads it.
    """
    found = {path.relative_to(folder).as_posix(): path for pattern in SMALL_FILES for path in folder.glob(pattern)}
    digest, any_counts = hashlib.blake2b(digest_size=16), False
    for name, path in sorted(found.items()):
        if path.is_file() and not any(fnmatch.fnmatchcase(name, pattern) for pattern in OF_NO_TOKENIZER):
            content = path.read_bytes()
            digest.update(repr((name, len(content))).encode() + content)
            any_counts = True
    return digest.hexdigest() if any_counts else None
