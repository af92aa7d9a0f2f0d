"""DSB: a block that slides on with every token, instead of waiting for its last mask.

Source: `llada/generate.py` of DSB (lizhuo008/DSB).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..policies import ConfidenceThreshold
from ..policy import Progress, UnmaskPolicy
from ..scores import Candidates
from ..types import Mask


@dataclass(frozen=True)
class SlidingBlock(UnmaskPolicy):
    """The rule of `confidence_threshold` over the leftmost `block_length` (B) masks.

    The source's window ends B + n positions behind the prompt, n tokens being committed: with no fixed text that holds
    exactly B masks, or all that are left.
    """

    block_length: int = 32
    max_block_length: int | None = None
    """The window is also no longer than so many positions, from the first mask on; None for no such limit."""
    confidence_threshold: float = 0.9

    @property
    def has_fixed_blocks(self) -> bool:
        return False

    def scope(self, progress: Progress) -> NDArray[np.bool_]:
        leftmost = np.flatnonzero(progress.masked)[: self.block_length]
        if self.max_block_length is not None:
            leftmost = leftmost[leftmost < leftmost[0] + self.max_block_length]
        inside = np.zeros_like(progress.masked)
        inside[leftmost] = True
        return inside

    def select(self, candidates: Candidates) -> Mask:
        return ConfidenceThreshold(self.confidence_threshold).select(candidates)
