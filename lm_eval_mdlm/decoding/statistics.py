"""How sure the network is at each position, and what it would write there."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from .types import Logits


@dataclass(frozen=True)
class Statistics:
    """Numbers of every distribution, from float32 logits before temperature."""

    entropy: Float[Tensor, " R"]
    """Shannon entropy in nats, from 0 (point mass) to log V."""
    confidence: Float[Tensor, " R"]
    """Largest probability."""
    margin: Float[Tensor, " R"]
    """Largest minus second largest probability."""
    logit_gap: Float[Tensor, " R"]
    """Largest minus second largest logit, nats; infinite where only one token is possible."""
    argmax: Int[Tensor, " R"]
    """Most likely token; the smallest id among equals."""
    log_prob: Float[Tensor, " R"] | None = None
    """Log-probability of a given token, nats; None if none was given."""

    def packed(self) -> Float64[Tensor, "C R"]:
        """All in one tensor, so that they move between devices with one transfer; nothing is rounded."""
        # Ids are exact in float64 up to 2**53, float32 values always.
        columns = (self.entropy, self.confidence, self.margin, self.logit_gap, self.argmax, self.log_prob)
        return torch.stack([column.double() for column in columns if column is not None])

    @classmethod
    def unpacked(cls, packed: Float64[Tensor, "C R"]) -> "Statistics":
        """The inverse of `packed`."""
        entropy, confidence, margin, logit_gap = packed[:4].float().unbind()
        log_prob = packed[5].float() if len(packed) > 5 else None
        return cls(entropy, confidence, margin, logit_gap, packed[4].long(), log_prob)


def statistics(logits: Logits, targets: Int[Tensor, " R"] | None = None) -> Statistics:
    """Statistics of every row of logits.

    Args:
        logits: Unnormalised log-probabilities; `-inf` marks a forbidden token, and at least one per row is
            finite. The arithmetic is float32 whatever the dtype: a bfloat16 softmax over a vocabulary of 126k
            rounds many confidences to exactly 1, and ties then decide the order.
        targets: For each row a token whose log-probability is wanted.
    """
    logits = logits.float()
    probabilities = logits.softmax(dim=-1)
    two = logits.topk(2, dim=-1)
    best, second = probabilities.gather(-1, two.indices).unbind(dim=-1)
    # entr(0) = 0, so no epsilon. The order of a sum depends on the shape and the alignment of what is summed; in
    # float64 that stays far below what float32 keeps, so a row's entropy does not depend on its company.
    entropy = torch.special.entr(probabilities).sum(dim=-1, dtype=torch.float64).float()
    argmax = logits.argmax(dim=-1, keepdim=True)
    log_prob = None
    if targets is not None:
        # The largest probability is 1 / sum(exp(logit - largest logit)), so no further tensor of this size is needed.
        below = logits.gather(-1, targets[:, None]) - logits.gather(-1, argmax)
        log_prob = (below.double().squeeze(-1) + best.double().log()).float()
    logit_gap = two.values[:, 0] - two.values[:, 1]
    return Statistics(entropy, best, best - second, logit_gap, argmax.squeeze(-1), log_prob)


def divergence(logits: Logits, before: Logits) -> Float[Tensor, " R"]:
    """KL divergence of every row's distribution from the one before it, nats: sum of p (log p - log p_before).

    Args:
        logits: As for `statistics`.
        before: Of the same shape. Where only these are -inf the divergence is infinite.
    """
    own, other = (one.double().log_softmax(dim=-1) for one in (logits, before))
    terms = own.exp() * (own - other)
    total = terms.masked_fill_(own.isneginf(), 0.0).sum(dim=-1)  # what is impossible adds nothing, whatever it was
    return total.clamp_(min=0.0).float()
