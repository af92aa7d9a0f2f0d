"""Passes whose sums are taken in the same order in every run."""

import contextlib
import os
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def repeatable_passes(wanted: bool) -> Iterator[None]:
    """Ask torch for algorithms that repeat to the bit; nothing if not `wanted`.

    Raises:
        RuntimeError: In a pass, by torch, where there is no such algorithm.
    """
    if not wanted:
        yield
        return
    # cuBLAS splits sums by the workspace it finds, and reads this when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
