"""A rule that trusts the neighbours of what is certain."""

from dataclasses import dataclass

import torch

from ...errors import UsageError
from ..policy import UnmaskPolicy
from ..scores import Candidates, by_confidence, ranks
from ..types import Mask, PerPosition


@dataclass(frozen=True)
class LocalLeap(UnmaskPolicy):
    """Commit every anchor, and what lies near one at a lower confidence; without an anchor the most confident position.

    Anchors are eligible positions at least as confident as the threshold. Source: LocalLeap, arXiv:2510.07081.
    """

    confidence_threshold: float = 0.9
    """Of anchors."""
    relaxed_threshold: float = 0.75
    """Of positions near one; at most `confidence_threshold`."""
    radius: int = 4
    """Farthest distance to an anchor, in positions of the region."""

    def __post_init__(self) -> None:
        if self.relaxed_threshold > self.confidence_threshold:
            raise UsageError(
                f"relaxed_threshold must be at most confidence_threshold ({self.confidence_threshold:g}), got "
                f"{self.relaxed_threshold:g}; lower it, or raise the other."
            )

    def select(self, candidates: Candidates) -> Mask:
        anchors = candidates.eligible & (candidates.confidence >= self.confidence_threshold)
        best = ranks(by_confidence(candidates), candidates.eligible) == 0
        near = self._distance(candidates, anchors) <= self.radius
        return (anchors | (near & (candidates.confidence >= self.relaxed_threshold)) | best) & candidates.eligible

    def _distance(self, candidates: Candidates, anchors: Mask) -> PerPosition:
        """To the nearest anchor, infinite without one."""
        position = candidates.position.double()  # ascending, so that the nearest anchors are the last and the next one
        last = position.masked_fill(~anchors, -torch.inf).cummax(dim=-1).values
        following = position.masked_fill(~anchors, torch.inf).flip(-1).cummin(dim=-1).values.flip(-1)
        return torch.minimum(position - last, following - position)
