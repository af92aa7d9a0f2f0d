"""How sure the network is at each position, and what it would write there."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from .types import Logits


@dataclass(frozen=True)
class Statistics:
    """Four numbers per distribution, from float32 logits before temperature."""

    entropy: Float[Tensor, " R"]
    """Shannon entropy in nats, from 0 (point mass) to log V."""
    confidence: Float[Tensor, " R"]
    """Largest probability."""
    margin: Float[Tensor, " R"]
    """Largest minus second largest probability."""
    argmax: Int[Tensor, " R"]
    """Most likely token; the smallest id among equals."""

    def packed(self) -> Float64[Tensor, "4 R"]:
        """All four in one tensor, so that they move between devices with one transfer; nothing is rounded."""
        # Ids are exact in float64 up to 2**53, float32 values always.
        return torch.stack([getattr(self, name).double() for name in self.__dataclass_fields__])

    @classmethod
    def unpacked(cls, packed: Float64[Tensor, "4 R"]) -> "Statistics":
        """The inverse of `packed`."""
        entropy, confidence, margin, argmax = packed
        return cls(entropy.float(), confidence.float(), margin.float(), argmax.long())


def statistics(logits: Logits) -> Statistics:
    """Statistics of every row of logits.

    Args:
        logits: Unnormalised log-probabilities; `-inf` marks a forbidden token, and at least one per row is
            finite. The arithmetic is float32 whatever the dtype: a bfloat16 softmax over a vocabulary of 126k
            rounds many confidences to exactly 1, and ties then decide the order.
    """
    logits = logits.float()
    probabilities = logits.softmax(dim=-1)
    best, second = probabilities.topk(2, dim=-1).values.unbind(dim=-1)
    # entr(0) = 0, so no epsilon. The order of a sum depends on the shape and the alignment of what is summed; in
    # float64 that stays far below what float32 keeps, so a row's entropy does not depend on its company.
    entropy = torch.special.entr(probabilities).sum(dim=-1, dtype=torch.float64).float()
    return Statistics(entropy, best, best - second, logits.argmax(dim=-1))
