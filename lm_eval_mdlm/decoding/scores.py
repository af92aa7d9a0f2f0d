"""In which order eligible positions are committed: lower scores first, ties to the leftmost."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .bias import Bias
from .types import Mask, PerPosition, Positions
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Candidates:
    """What a policy may see of one step: the candidate positions of B rows, ascending and padded to N."""

    entropy: Float[Tensor, "B N"]
    confidence: Float[Tensor, "B N"]
    margin: Float[Tensor, "B N"]
    logit_gap: Float[Tensor, "B N"]
    """Largest minus second largest logit, nats."""
    argmax: Int[Tensor, "B N"]
    """Most likely token."""
    token: Int[Tensor, "B N"]
    """Proposal: a sample at a temperature above 0 where the policy needs it, else the most likely token."""
    log_prob: Float[Tensor, "B N"]
    """Of the token that stands at a revisable position; nats, undefined elsewhere."""
    position: Int[Tensor, "B N"]
    """Index in the region."""
    noise: Float[Tensor, "B N"]
    """Uniform in [0, 1), from the row's own generator; zeros unless a policy asks for it."""
    eligible: Bool[Tensor, "B N"]
    """Masked and within the policy's scope, by default the row's current block; False on padding."""
    revisable: Bool[Tensor, "B N"]
    """Committed, and read again because the policy asked for it."""
    block_start: Int[Tensor, " B"]
    """Index in the region at which the current block begins."""
    block_length: Int[Tensor, " B"]
    """Positions that the current block spans, fixed text included."""
    block_masks: Int[Tensor, " B"]
    """Masks the current block held when it opened."""
    block_step: Int[Tensor, " B"]
    """Steps already spent in the current block."""
    num_blocks: Int[Tensor, " B"]
    """Blocks of the row that held masks at the start."""
    memories: tuple[Any, ...]
    """What the policy left with each row after its last pass."""
    biases: tuple[Bias | None, ...] = ()
    """What a look adds to logits, one per row, for samples to be drawn with it too; empty for none at all."""
    standing: Int[Tensor, "B N"] | None = None
    """Token that is on the canvas; None for policies that revise nothing."""
    divergence: Float[Tensor, "B N"] | None = None
    """KL divergence of an eligible position's distribution from the one in the pass before, nats; NaN in the first pass
    of a block, undefined elsewhere. None unless a policy compares."""

    def with_eligible(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Some columns with other values at the eligible positions, row after row."""
        if self.eligible.all():  # so it is where no answer is waited for, and then there is nothing to be kept
            shape = tuple(self.eligible.shape)
            return {name: values.view(shape) for name, values in columns.items()}
        return {name: getattr(self, name).masked_scatter(self.eligible, values) for name, values in columns.items()}


Score = Callable[[Candidates], PerPosition]


class VocabularyScore(abc.ABC):
    """A score with parameters of its own, that knows tokens of one model."""

    @abc.abstractmethod
    def __call__(self, candidates: Candidates) -> PerPosition:
        """Lower is earlier."""

    @abc.abstractmethod
    def check(self, vocabulary: Vocabulary) -> None:
        """Raise UsageError if the score was made for other tokens."""


def by_entropy(candidates: Candidates) -> PerPosition:
    """Surest first, by the whole distribution."""
    return candidates.entropy


def by_confidence(candidates: Candidates) -> PerPosition:
    """Surest first, by the largest probability."""
    return -candidates.confidence


def by_margin(candidates: Candidates) -> PerPosition:
    """Surest first, by the lead of the best token over the second."""
    return -candidates.margin


def at_random(candidates: Candidates) -> PerPosition:
    """A new random order at every step."""
    return candidates.noise


def left_to_right(candidates: Candidates) -> PerPosition:
    """Leftmost first: equal scores, and ties go to the leftmost."""
    return torch.zeros_like(candidates.entropy)


def ranks(score: PerPosition, eligible: Mask) -> Positions:
    """Rank of every eligible position, 0 for the lowest score; ineligible ones come last."""
    return score.masked_fill(~eligible, torch.inf).argsort(dim=-1, stable=True).argsort(dim=-1)
