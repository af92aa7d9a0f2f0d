"""AdaBlock: blocks that end where the model is about to end a line or a clause.

Source: arXiv:2509.26432.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import UsageError
from ..policies import ConfidenceThreshold
from ..policy import Decision, DecodingPolicy, Progress
from ..scores import Candidates
from ..vocabulary import Vocabulary


WINDOW_SHARE = 4
"""The window is so small a part of the row's masks."""


@dataclass(frozen=True)
class AdaBlock(DecodingPolicy):
    """The rule of `confidence_threshold` in blocks whose ends the model itself proposes.

    A block begins at the first mask. Its first pass looks at the masks of a window, a quarter as many positions as the
    row had masks at the start: where the most likely token of some is a delimiter, and the largest of their
    probabilities is at least `delimiter_threshold` (theta), the block ends with that position; else it has
    `block_length` positions.
    """

    block_length: int = 32
    confidence_threshold: float = 0.9
    delimiter_threshold: float = 0.3
    delimiters: tuple[int | str, ...] = ("\n",)
    """Token ids, or texts of one token each."""

    @property
    def has_fixed_blocks(self) -> bool:
        return False

    def bound(self, vocabulary: Vocabulary) -> DecodingPolicy:
        return replace(self, delimiters=tuple(_token(delimiter, vocabulary) for delimiter in self.delimiters))

    def begin(self) -> Any:
        return 0  # the position behind the block

    def scope(self, progress: Progress) -> NDArray[np.bool_]:
        first, end = int(progress.masked.argmax()), progress.memory
        if first >= end:
            end = first + max(self.block_length, len(progress.block) // WINDOW_SHARE)
        inside = progress.masked.copy()
        inside[end:] = False
        return inside

    def focus(self, candidates: Candidates) -> Candidates:
        first = candidates.position.masked_fill(~candidates.eligible, torch.iinfo(torch.long).max).amin(dim=-1)
        window = candidates.position < (first + candidates.block_masks // WINDOW_SHARE)[:, None]
        ending = window & candidates.eligible & torch.isin(candidates.argmax, torch.tensor(self.delimiters))
        # The first maximum is the leftmost one: positions ascend.
        confidence, at = candidates.confidence.masked_fill(~ending, -1).max(dim=-1)
        proposed = candidates.position.gather(-1, at[:, None]).squeeze(-1) + 1
        is_clear = ending.any(dim=-1) & (confidence >= self.delimiter_threshold)
        opened = torch.where(is_clear, proposed, first + self.block_length)
        before = torch.tensor(candidates.memories)
        ends = torch.where(first < before, before, opened)
        inside = candidates.eligible & (candidates.position < ends[:, None])
        return replace(candidates, eligible=inside, memories=tuple(ends.tolist()))

    def decide(self, candidates: Candidates) -> Decision:
        candidates = self.focus(candidates)
        return Decision(ConfidenceThreshold(self.confidence_threshold).select(candidates), candidates.memories)


def _token(delimiter: int | str, vocabulary: Vocabulary) -> int:
    if isinstance(delimiter, str):
        found = vocabulary.encode("delimiters", delimiter)
        if len(found) != 1:
            raise UsageError(f"delimiters must be single tokens, got {delimiter!r}, which is {len(found)} tokens.")
        return found[0]
    if not 0 <= delimiter < vocabulary.size:
        raise UsageError(f"delimiters must be ids from 0 to {vocabulary.size - 1}, got {delimiter}; correct it.")
    return delimiter
