"""Adapters merged into the checkpoint that they were trained on."""

from pathlib import Path

import torch

from .networks import Source, with_adapter
from .saving import save_checkpoint


def merge(pretrained: str, adapter: Path, out: Path, *, dtype: str, revision: str | None = None) -> None:
    """Write the merged checkpoint into `out`; sums are made in float32 and rounded once, to `dtype`.

    Raises:
        UsageError: For a checkpoint or an adapter that cannot be used, and for two that do not belong together.
    """
    trained = Source.open(pretrained, revision).load(torch.float32)
    save_checkpoint(with_adapter(trained, adapter), out, dtype=getattr(torch, dtype))
