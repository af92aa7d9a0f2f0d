"""Which tokens a sample may be: the usual restrictions of sampling, which leave every statistic as it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .types import Logits


@dataclass(frozen=True)
class Restriction:
    """`top_k`, `top_p` and `min_p`, in that order and after the temperature, as in transformers."""

    top_k: int | None = None
    """Only tokens at least as likely as the k-th likeliest; all where unset."""
    top_p: float | None = None
    """In (0, 1): only the fewest likeliest tokens that together have this probability; ties go to the lower id."""
    min_p: float | None = None
    """In (0, 1]: only tokens at least this share as likely as the likeliest one."""

    @classmethod
    def of(cls, *, top_k: int | None, top_p: float | None, min_p: float | None) -> "Restriction | None":
        """None where nothing is restricted."""
        return None if top_k is top_p is min_p is None else cls(top_k, top_p, min_p)

    def apply(self, logits: Logits, temperature: float) -> Logits:
        """Logits with the tokens that may not be drawn at -inf; at least one is left per row.

        Args:
            logits: Before temperature; -inf marks a token that is out already.
            temperature: Above 0.
        """
        # Row by row, so that a sum over the vocabulary is the same sum whatever the number of rows.
        return torch.stack([row.masked_fill(~self._allowed(row.double() / temperature), -torch.inf) for row in logits])

    def _allowed(self, tempered: Float[Tensor, " V"]) -> Tensor:
        allowed = torch.ones_like(tempered, dtype=torch.bool)
        if self.top_k is not None:
            allowed &= tempered >= tempered.topk(min(self.top_k, len(tempered))).values[-1]
        if self.top_p is not None:
            kept = tempered.masked_fill(~allowed, -torch.inf).softmax(0)
            sorted_shares, order = kept.sort(descending=True, stable=True)
            likelier = sorted_shares.cumsum(0) - sorted_shares  # what the tokens before it have together
            allowed &= torch.zeros_like(allowed).scatter(0, order, likelier < self.top_p)
        if self.min_p is not None:
            allowed &= tempered - tempered.max() >= math.log(self.min_p)
        return allowed


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How one token is drawn."""

    temperature: float
    """Above 0."""
    seed: int
    """In [0, 2**128)."""
    restriction: Restriction | None = None
    """None for all tokens."""


def restricted(logits: Logits, draws: Sequence[Draw]) -> Logits:
    """Logits with the tokens that each row may not draw at -inf; nothing is waited for."""
    if all(draw.restriction is None for draw in draws):
        return logits
    rows = zip(torch.split(logits, 1), draws, strict=True)
    return torch.cat([d.restriction.apply(row, d.temperature) if d.restriction else row for row, d in rows])
