"""ReMDM's loop: fill most of the text, take the least likely tokens back and fill again, then finish.

Source: arXiv:2503.00307, in the form and with the numbers of NEUIR/PC-Sampler's loop.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..policy import Decision, DecodingPolicy, Progress
from ..scores import Candidates, by_confidence, ranks


@dataclass(frozen=True)
class ReMask(DecodingPolicy):
    """One token a pass, most confident first; between, `remdm_loops` times, one back and one filled.

    The loops begin once a share `remdm_share` of the masks, rounded down and at least one, is filled. Each is two
    passes: the committed token of lowest probability becomes a mask again; the mask of highest confidence is filled. A
    row of n masks takes n + 2 loops passes. Fixed text and given answers stay.
    """

    remdm_share: float = 0.875
    remdm_loops: int = 32

    @property
    def has_fixed_blocks(self) -> bool:
        return False

    @property
    def revises(self) -> bool:
        return self.remdm_loops > 0

    def most_steps(self, num_masks: int) -> int:
        return num_masks + 2 * self.remdm_loops

    def steps_of(self, num_masks: int, num_blocks: int) -> int:
        return self.most_steps(num_masks)

    def begin(self) -> Any:
        return 0  # tokens taken back

    def scope(self, progress: Progress) -> NDArray[np.bool_]:
        return progress.masked & (not self._takes_back(progress))

    def revisable(self, progress: Progress) -> NDArray[np.bool_] | None:
        return progress.free & ~progress.masked if self._takes_back(progress) else None

    def _takes_back(self, progress: Progress) -> bool:
        num_free = int(progress.free.sum())
        filled = max(int(self.remdm_share * num_free), 1)
        is_reached = num_free - int(progress.masked.sum()) >= filled
        return is_reached and progress.memory < self.remdm_loops

    def decide(self, candidates: Candidates) -> Decision:
        commit = (ranks(by_confidence(candidates), candidates.eligible) == 0) & candidates.eligible
        remask = (ranks(candidates.log_prob, candidates.revisable) == 0) & candidates.revisable
        taken: list[int] = remask.sum(dim=-1).tolist()
        memories = [before + now for before, now in zip(candidates.memories, taken, strict=True)]
        return Decision(commit, memories, remask=remask)

    def completes(self, num_masked: int, memory: Any) -> bool:
        return not num_masked and self.is_final(memory)

    def is_final(self, memory: Any) -> bool:
        return bool(memory == self.remdm_loops)
