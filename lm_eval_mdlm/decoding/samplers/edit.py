"""LLaDA2.1's rule: tokens of the block that is worked on may still be exchanged for likelier ones.

Source: the checkpoint's own `generate`, in the form that docs/semantics.md states.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..policy import Decision, DecodingPolicy, Progress
from ..scores import Candidates, by_confidence, ranks


@dataclass(frozen=True)
class Revision:
    """What a row remembers of its current block."""

    passes: int
    """That began without a mask."""
    settled: bool
    """Whether the last one did, and exchanged nothing."""


@dataclass(frozen=True)
class Edit(DecodingPolicy):
    """Fill every mask that is confident enough, or else the most confident one, and exchange what is no longer likely.

    Exchanged is a token that stood in the block before the pass, where another one is the most likely, with a
    probability above `edit_threshold`; the prompt, fixed text and given answers stay. A block ends after a pass that
    began without masks and exchanged nothing, or after `max_edit_passes` passes that began without masks.
    """

    confidence_threshold: float = 0.7
    """To be exceeded, by a mask."""
    edit_threshold: float = 0.5
    """To be exceeded, by the token that another one gives way to."""
    max_edit_passes: int = 16
    """In each block; with 0 a block ends with its last mask."""

    @property
    def revises(self) -> bool:
        return True

    @property
    def may_pause(self) -> bool:
        return True  # the pass that finds nothing to exchange

    def most_steps(self, num_masks: int) -> int | None:
        return num_masks * (1 + self.max_edit_passes)  # there are no more blocks than masks

    def begin(self) -> Any:
        return Revision(passes=0, settled=False)

    def revisable(self, progress: Progress) -> NDArray[np.bool_] | None:
        return progress.free & ~progress.masked & self.scope(progress)

    def decide(self, candidates: Candidates) -> Decision:
        assert candidates.standing is not None
        best = ranks(by_confidence(candidates), candidates.eligible) == 0
        fill = ((candidates.confidence > self.confidence_threshold) | best) & candidates.eligible
        differs = candidates.revisable & (candidates.argmax != candidates.standing)
        exchange = differs & (candidates.confidence > self.edit_threshold)
        passes = zip(
            candidates.memories,
            candidates.block_step.tolist(),
            candidates.eligible.any(dim=-1).tolist(),
            exchange.any(dim=-1).tolist(),
            strict=True,
        )
        return Decision(fill | exchange, [self._after(*one) for one in passes])

    def _after(self, before: Revision, step: int, had_masks: bool, exchanged: bool) -> Revision:
        passes = before.passes if step else 0
        return Revision(passes + (not had_masks), settled=not had_masks and not exchanged)

    def completes(self, num_masked: int, memory: Any) -> bool:
        return not num_masked and (memory.settled or memory.passes >= self.max_edit_passes)

    def is_final(self, memory: Any) -> bool:
        return False  # until its block has ended
