"""Disjoint splits by construction: what a problem is about decides the one split it can be in."""

import hashlib
from typing import Literal


Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
HELD_OUT_PERCENT = 2


def split_of(skeleton: str) -> Split:
    """The split of a skeleton: 2 % test, 2 % validation, the rest train, by its hash."""
    percent = int.from_bytes(hashlib.sha256(skeleton.encode()).digest()[:8], "big") % 100
    if percent < HELD_OUT_PERCENT:
        return "test"
    return "validation" if percent < 2 * HELD_OUT_PERCENT else "train"
