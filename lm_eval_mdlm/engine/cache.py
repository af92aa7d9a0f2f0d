"""Caches: which tokens a pass recomputes while the keys and values of all others stay as they were.

The approximate ones begin every block with a pass over the whole canvas. Source: Wu et al. 2025 (Fast-dLLM),
arXiv:2505.22618; what happens to a template's answer is this project's choice, as templates are not in that paper. The
exact one is for networks whose tokens do not see later blocks, so that what is finished is never computed otherwise.
"""

import abc
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..canvas.template import Region


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Where a row stands before a pass."""

    region: Region
    offset: int
    """Position in the canvas at which the region begins."""
    span: tuple[int, int]
    """The current block in the region: its first position, and the one behind its last."""
    step: int
    """Passes since the block opened."""
    final_until: int
    """Positions of the canvas before this one were final, and computed, in the last pass; 0 before the first."""
    stop: int
    """The pass sees the canvas's positions before this one."""
    wanted: NDArray[np.int64]
    """Positions of the canvas whose distributions are asked for."""
    lookback: int
    """How far before a token the state lies from which it is predicted."""


class CachePolicy(abc.ABC):
    """A rule for what a pass recomputes."""

    is_exact: ClassVar[bool] = False
    """Whether results are those of passes over whole canvases."""

    @abc.abstractmethod
    def reuses(self, place: Place) -> bool:
        """Whether the pass needs what earlier ones left in the row's slots; if not, it computes all that it sees."""

    @abc.abstractmethod
    def computed(self, place: Place) -> NDArray[np.int64]:
        """Positions of the canvas that a pass computes which reuses others, ascending."""


class StaleCache(CachePolicy):
    """An approximate cache: all passes of a block but the first one reuse what that one computed."""

    @abc.abstractmethod
    def recomputed(self, region: Region, start: int, stop: int) -> NDArray[np.bool_]:
        """Which positions of the region are recomputed while its block from `start` to `stop` is decoded."""

    def reuses(self, place: Place) -> bool:
        return place.step > 0

    def computed(self, place: Place) -> NDArray[np.int64]:
        inside = np.zeros(place.offset + len(place.region.token_ids), dtype=bool)
        inside[place.offset :] = self.recomputed(place.region, *place.span)
        inside[place.wanted] = inside[np.maximum(place.wanted - place.lookback, 0)] = True
        return np.flatnonzero(inside)


@dataclass(frozen=True)
class PrefixCache(StaleCache):
    """Keep what is before the block; recompute the block and everything behind it."""

    def recomputed(self, region: Region, start: int, stop: int) -> NDArray[np.bool_]:
        return np.arange(len(region.token_ids)) >= start


@dataclass(frozen=True)
class DualCache(StaleCache):
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


@dataclass(frozen=True)
class FinalPrefix(CachePolicy):
    """Keep what is final and was computed so, for block-causal networks.

    A finished block is computed once more, with all its tokens in place, in the first pass of the next one.
    """

    is_exact: ClassVar[bool] = True

    def reuses(self, place: Place) -> bool:
        return place.final_until > 0

    def computed(self, place: Place) -> NDArray[np.int64]:
        return np.arange(place.final_until, place.stop)


EXACT = "exact"
"""Name of the one cache that block-causal networks have."""
CACHES: dict[str, CachePolicy] = {"prefix": PrefixCache(), "dual": DualCache(), EXACT: FinalPrefix()}
"""Caches by the name of the option."""
