"""SlowFast: explore one token at a time until it is clear how far the model sees, then fill that stretch in parallel.

Source: arXiv:2506.10848, sections 3.3 and 4.2. Its public code is another rule (docs/semantics.md).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..policy import Decision, DecodingPolicy, Progress
from ..scores import Candidates, by_confidence, ranks


@dataclass(frozen=True)
class Stage:
    """Where a row is between exploring and filling."""

    end: int | None = None
    """Last position of the stretch that is being filled, or was last; None before the first."""
    horizons: tuple[int, ...] = ()
    """How far each pass of the present exploration saw."""


@dataclass(frozen=True)
class SlowFast(DecodingPolicy):
    """Slow passes commit the most confident mask, until the horizon is stable; fast ones fill up to it by a threshold.

    The horizon of a pass is the last mask with a confidence above `slow_threshold` (tau_min), the first mask if there
    is none. Exploring ends once the variance of the last `stable_window` (W) horizons is below `stable_variance`
    (sigma squared), or after `max_slow_steps` (K_max) passes; the stretch ends at the mean of these horizons, rounded
    down. Fast passes commit all masks in it with a confidence above `confidence_threshold` (tau_high), or else the most
    confident one; exploring goes on behind it. The paper leaves open: the number of tokens where one is taken here, the
    kind of variance (population), the end of the fast stage (no mask left in the stretch), the stretch where no
    horizon was stable.
    """

    slow_threshold: float = 0.1
    confidence_threshold: float = 0.85
    max_slow_steps: int = 8
    stable_window: int = 2
    stable_variance: float = 1.0

    @property
    def has_fixed_blocks(self) -> bool:
        return False

    def begin(self) -> Any:
        return Stage()

    def scope(self, progress: Progress) -> NDArray[np.bool_]:
        end = progress.memory.end
        if end is None or not progress.masked[: end + 1].any():
            return progress.masked
        stretch = progress.masked.copy()
        stretch[end + 1 :] = False
        return stretch

    def decide(self, candidates: Candidates) -> Decision:
        first = candidates.position.masked_fill(~candidates.eligible, torch.iinfo(torch.long).max).amin(dim=-1)
        ends = torch.tensor([-1 if stage.end is None else stage.end for stage in candidates.memories])
        fast = first <= ends
        best = ranks(by_confidence(candidates), candidates.eligible) == 0
        sure = (candidates.confidence > self.confidence_threshold) & fast[:, None]
        seen = (candidates.confidence > self.slow_threshold) & candidates.eligible
        horizons = candidates.position.masked_fill(~seen, -1).amax(dim=-1).maximum(first)
        memories = [
            stage if is_fast else self._explored(stage, horizon)
            for stage, is_fast, horizon in zip(candidates.memories, fast.tolist(), horizons.tolist(), strict=True)
        ]
        return Decision((sure | best) & candidates.eligible, memories)

    def _explored(self, stage: Stage, horizon: int) -> Stage:
        horizons = (*stage.horizons, horizon)
        last = np.array(horizons[-self.stable_window :], dtype=np.float64)
        stable = len(last) == self.stable_window and float(last.var()) < self.stable_variance
        if stable or len(horizons) == self.max_slow_steps:
            return Stage(end=int(last.mean()))
        return Stage(stage.end, horizons)
