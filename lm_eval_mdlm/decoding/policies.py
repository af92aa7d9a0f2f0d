"""Rules that choose by uncertainty alone, and keep nothing between passes.

Each commits at least one eligible position of every row that has any: that is what makes the engine end.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch

from ..errors import UsageError
from .policy import DecodingPolicy, UnmaskPolicy
from .scores import Candidates, Score, VocabularyScore, at_random, by_confidence, by_entropy, ranks
from .types import Mask, PerPosition
from .vocabulary import Vocabulary


class _ByScore(UnmaskPolicy):
    """Commits positions in the order of a score."""

    score: Score

    @property
    def needs_noise(self) -> bool:
        return self.score is at_random

    def bound(self, vocabulary: Vocabulary) -> DecodingPolicy:
        if isinstance(self.score, VocabularyScore):
            self.score.check(vocabulary)
        return self

    def order(self, candidates: Candidates) -> PerPosition:
        return self.score(candidates)


@dataclass(frozen=True)
class FixedK(_ByScore):
    """Commit the k best positions by score."""

    k: int = 1
    score: Score = by_entropy

    def steps_of(self, num_masks: int, num_blocks: int) -> int:
        return -(-num_masks // self.k)

    def select(self, candidates: Candidates) -> Mask:
        return (ranks(self.score(candidates), candidates.eligible) < self.k) & candidates.eligible


@dataclass(frozen=True)
class EvenSchedule(_ByScore):
    """Spread `steps` evenly over the blocks, and each block's masks evenly over its steps.

    A block with m masks and s steps commits m // s a step, one more in its first m % s steps.
    Source: `generate.py` of Nie et al. 2025 (LLaDA), arXiv:2502.09992.
    """

    steps: int
    score: Score = by_entropy

    def check_blocks(self, num_blocks: int) -> None:
        if num_blocks and self.steps % num_blocks:
            raise UsageError(
                f"steps must be a multiple of the number of blocks that hold masks ({num_blocks} here), got "
                f"{self.steps}; change steps, block_length or gen_length."
            )

    def steps_of(self, num_masks: int, num_blocks: int) -> int:
        return min(self.steps // num_blocks, num_masks)

    def on_grid(self, block_length: int) -> DecodingPolicy:
        return BlockSchedule(self.steps, self.score, block_length)

    def select(self, candidates: Candidates) -> Mask:
        steps = self.steps // candidates.num_blocks
        quota = candidates.block_masks // steps
        quota = quota + (candidates.block_step < candidates.block_masks % steps)
        return (ranks(self.score(candidates), candidates.eligible) < quota[:, None]) & candidates.eligible


@dataclass(frozen=True)
class BlockSchedule(_ByScore):
    """Spread `steps` over a full block of b positions: b // steps a step, one more in its first b % steps steps.

    A block with fewer masks takes them at the same pace, and so fewer steps. Source: the loops of SDAR and LLaDA2.0.
    """

    steps: int
    score: Score
    block_length: int

    def steps_of(self, num_masks: int, num_blocks: int) -> int:
        each, more = divmod(self.block_length, self.steps)
        taken = accumulate(each + (step < more) for step in range(self.steps))
        return 1 + next(step for step, filled in enumerate(taken) if filled >= num_masks)

    def select(self, candidates: Candidates) -> Mask:
        quota = self.block_length // self.steps + (candidates.block_step < self.block_length % self.steps)
        return (ranks(self.score(candidates), candidates.eligible) < quota[:, None]) & candidates.eligible


@dataclass(frozen=True)
class MultiTokenEntropy(UnmaskPolicy):
    """MED: commit every position with entropy below the threshold, or else the surest one.

    Since a joint entropy is at least its largest marginal, what is lost by committing a set independently is
    at most the sum of its other entropies. Source: Horvitz et al. 2025, arXiv:2510.19990 (lambda and k_max there).
    """

    entropy_threshold: float = 0.2
    """Nats."""
    k_max: int | None = None
    """Cap on the commits of a row in one step, lowest entropy first; None for no cap."""

    def order(self, candidates: Candidates) -> PerPosition:
        return candidates.entropy

    def select(self, candidates: Candidates) -> Mask:
        rank = ranks(candidates.entropy, candidates.eligible)
        certain = candidates.entropy < self.entropy_threshold
        if self.k_max is not None:
            certain = certain & (rank < self.k_max)
        return (certain | (rank == 0)) & candidates.eligible


@dataclass(frozen=True)
class EntropyBound(UnmaskPolicy):
    """Commit the surest positions while `sum(H) - max(H)` over them stays within the bound.

    The difference bounds the divergence between their joint and the product of their marginals.
    Source: Ben-Hamu et al. 2025 (EB-Sampler), arXiv:2505.24857.
    """

    entropy_bound: float = 0.1
    """Nats; 0 commits one position a step unless further ones are certain."""

    def order(self, candidates: Candidates) -> PerPosition:
        return candidates.entropy

    def select(self, candidates: Candidates) -> Mask:
        entropy = candidates.entropy.double().masked_fill(~candidates.eligible, torch.inf)
        ascending, order = entropy.sort(dim=-1, stable=True)
        # In ascending order the maximum is the last term, so sum - max is the sum of the terms before it.
        before = torch.nn.functional.pad(ascending.cumsum(dim=-1)[:, :-1], (1, 0))
        within = torch.zeros_like(candidates.eligible).scatter(-1, order, before <= self.entropy_bound)
        return within & candidates.eligible


@dataclass(frozen=True)
class ConfidenceThreshold(UnmaskPolicy):
    """Commit every position at least this confident, or else the most confident one.

    Source: Wu et al. 2025 (Fast-dLLM), arXiv:2505.22618.
    """

    confidence_threshold: float = 0.9

    def select(self, candidates: Candidates) -> Mask:
        best = ranks(by_confidence(candidates), candidates.eligible) == 0
        return ((candidates.confidence >= self.confidence_threshold) | best) & candidates.eligible


@dataclass(frozen=True)
class ConfidenceFactor(UnmaskPolicy):
    """Commit the n most confident positions, n the largest with `(n + 1)(1 - c_n) < factor`, at least one.

    c_n is the n-th largest confidence. Source: Wu et al. 2025 (Fast-dLLM), arXiv:2505.22618.
    """

    factor: float = 1.0

    def select(self, candidates: Candidates) -> Mask:
        confidence = candidates.confidence.double().masked_fill(~candidates.eligible, -torch.inf)
        descending, order = confidence.sort(dim=-1, descending=True, stable=True)
        n = torch.arange(1, confidence.shape[-1] + 1, device=confidence.device)
        # Both factors grow along the order, so what is within the bound is a prefix that ends at the largest n.
        within = ((n + 1) * (1 - descending) < self.factor) | (n == 1)
        return torch.zeros_like(candidates.eligible).scatter(-1, order, within) & candidates.eligible
