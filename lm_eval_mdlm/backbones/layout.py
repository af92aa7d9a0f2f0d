"""Where the canvases of one packed pass lie: built once per pass, on the host, before the layers run."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor

from .invariance import padded_rows


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Canvases end to end, and after them a stretch of padding that counts as one more canvas."""

    lengths: tuple[int, ...]
    """Tokens of each canvas; the last entry is the padding where there is any."""
    num_padding: int
    """Tokens of padding."""
    starts: Int[Tensor, " boundaries"]
    """First token of each canvas and, last, the number of tokens: int32, as attention kernels want it."""
    position_ids: Int[Tensor, " T"]
    """Position of each token in its canvas, from 0."""

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Layout":
        """Lay out canvases of these lengths, none of them empty."""
        total = sum(lengths)
        num_padding = padded_rows(total, device) - total
        filled = (*lengths, num_padding) if num_padding else tuple(lengths)
        starts = torch.tensor([0, *accumulate(filled)], dtype=torch.int32)
        position_ids = torch.cat([torch.arange(length) for length in filled])
        return cls(
            lengths=filled, num_padding=num_padding, starts=starts.to(device), position_ids=position_ids.to(device)
        )
