"""How sure the network is at each position, and what it would write there."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
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

    @classmethod
    def empty(cls, num_rows: int, device: torch.device) -> "Statistics":
        """Rows that are yet to be `put`."""
        entropy, confidence, margin = torch.empty(3, num_rows, device=device)
        return cls(entropy, confidence, margin, torch.empty(num_rows, dtype=torch.long, device=device))

    def put(self, start: int, rows: "Statistics") -> None:
        """Write rows in place, from row `start` on."""
        for name in self.__dataclass_fields__:
            values = getattr(rows, name)
            getattr(self, name)[start : start + len(values)] = values

    def first(self, num_rows: int) -> "Statistics":
        """The leading rows."""
        return Statistics(*(getattr(self, name)[:num_rows] for name in self.__dataclass_fields__))

    def to(self, device: torch.device | str) -> "Statistics":
        """Move to a device with a single transfer, hence a single synchronisation."""
        # Ids are exact in float64 up to 2**53, float32 values always.
        columns = [getattr(self, name).double() for name in self.__dataclass_fields__]
        entropy, confidence, margin, argmax = torch.stack(columns).to(device)
        return Statistics(entropy.float(), confidence.float(), margin.float(), argmax.long())


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
