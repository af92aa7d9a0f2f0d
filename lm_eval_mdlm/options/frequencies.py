"""Files of token frequencies, as `lm-eval-mdlm frequencies` writes them and `token_frequencies=FILE` reads them."""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..decoding.frequencies import TokenFrequencies
from ..errors import UsageError
from ..files import only_a_file


KIND = "token frequencies of lm_eval_mdlm"


def write_frequencies(path: Path, vocabulary: str, counts: Mapping[int, int]) -> None:
    """Write counts of tokens by id, as a whole or not at all.

    Args:
        path: Of the JSON file; must not exist.
        vocabulary: Digest of the tokenizer's tokens and ids.
        counts: At least one.

    Raises:
        UsageError: If it cannot be written.
    """
    content = {"kind": KIND, "vocabulary": vocabulary, "counts": {str(i): n for i, n in sorted(counts.items())}}
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(content))
        part.replace(path)
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"--output {path} cannot be written by way of {part} ({why}); name another file.") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def read_frequencies(path: str) -> TokenFrequencies:
    """The counts of a file; UsageError if it cannot be read or is no such file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"token_frequencies={path} must be a file that lm-eval-mdlm frequencies wrote, got {reason}."
        ) from None
    return _read(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=4)
def _read(path: str, modified: int, size: int) -> TokenFrequencies:
    try:
        content = json.loads(only_a_file(path).read_text())
        counts = _counts(content)
        vocabulary = str(content["vocabulary"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"token_frequencies={path} must be a file that lm-eval-mdlm frequencies wrote, got something else or a "
            f"damaged one; write it again."
        ) from None
    digest = hashlib.blake2b(repr((vocabulary, sorted(counts.items()))).encode(), digest_size=16).hexdigest()
    return TokenFrequencies(digest, vocabulary, sum(counts.values()), counts, path)


def _counts(content: Any) -> dict[int, int]:
    counts = {int(token): number for token, number in content["counts"].items()}
    plausible = all(0 <= token < 2**24 for token in counts)
    plausible &= all(type(number) is int and 0 < number < 2**53 for number in counts.values())
    if content["kind"] != KIND or not counts or not plausible:
        raise ValueError
    return counts
