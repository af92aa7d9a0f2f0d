"""In which order eligible positions are committed: lower scores first, ties to the leftmost."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .types import Mask, PerPosition, Positions


@dataclass(frozen=True)
class Candidates:
    """What a policy may see of one step: the candidate positions of B rows, ascending and padded to N."""

    entropy: Float[Tensor, "B N"]
    confidence: Float[Tensor, "B N"]
    margin: Float[Tensor, "B N"]
    noise: Float[Tensor, "B N"]
    """Uniform in [0, 1), from the row's own generator; zeros unless a policy asks for it."""
    eligible: Bool[Tensor, "B N"]
    """Masked and in the row's current block; False on padding."""
    block_masks: Int[Tensor, " B"]
    """Masks the current block held when it opened."""
    block_step: Int[Tensor, " B"]
    """Steps already spent in the current block."""
    num_blocks: Int[Tensor, " B"]
    """Blocks of the row that held masks at the start."""


Score = Callable[[Candidates], PerPosition]


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
