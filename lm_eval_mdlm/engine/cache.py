"""Approximate caches: which tokens a pass recomputes while the keys and values of all others stay as they were.

Every block begins with a pass over the whole canvas. Source: Wu et al. 2025 (Fast-dLLM), arXiv:2505.22618; what happens
to a template's answer is this project's choice, as templates are not in that paper.
"""

import abc
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..canvas.template import Region


class CachePolicy(abc.ABC):
    """A rule for the passes of a block after its first one."""

    @abc.abstractmethod
    def recomputed(self, region: Region, start: int, stop: int) -> NDArray[np.bool_]:
        """Which positions of the region are recomputed while its block from `start` to `stop` is decoded."""


@dataclass(frozen=True)
class PrefixCache(CachePolicy):
    """Keep what is before the block; recompute the block and everything behind it."""

    def recomputed(self, region: Region, start: int, stop: int) -> NDArray[np.bool_]:
        return np.arange(len(region.token_ids)) >= start


@dataclass(frozen=True)
class DualCache(CachePolicy):
    """Keep what is before and behind the block; recompute the block, and a template's fixed text and answer.

    The answer is watched at every step, and the text before it is what makes it an answer.
    """

    def recomputed(self, region: Region, start: int, stop: int) -> NDArray[np.bool_]:
        chosen = np.zeros(len(region.token_ids), dtype=bool)
        chosen[start:stop] = True
        for span in region.spans:
            if span.kind != "reasoning":
                chosen[span.start : span.stop] = True
        return chosen


CACHES = {"prefix": PrefixCache(), "dual": DualCache()}
"""Caches by the name of the option."""
