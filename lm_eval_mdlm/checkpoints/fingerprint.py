"""A short name for a checkpoint's content, so that a record or a cache notices weights that were replaced."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from .tokenizer import TOKENIZER_FILES
from .weights import weight_files


MORE_TOKENIZER_FILES = ("special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json")
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
    """32 hexadecimal digits from all files that decide how text becomes tokens; None where there are none."""
    names = sorted({*TOKENIZER_FILES, *MORE_TOKENIZER_FILES, *(path.name for path in folder.glob("*.model"))})
    present = [folder / name for name in names if (folder / name).is_file()]
    digest = hashlib.blake2b(digest_size=16)
    for path in present:
        content = path.read_bytes()
        digest.update(repr((path.name, len(content))).encode() + content)
    return digest.hexdigest() if present else None
