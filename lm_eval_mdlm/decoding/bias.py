"""What is added to a few logits of a position before anything is read from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from .types import Logits


@dataclass(frozen=True, eq=False)
class Bias:
    """Of one row: for positions of its region, tokens and what their logits gain."""

    by_position: Mapping[int, Mapping[int, float]]

    def at(self, position: int) -> Mapping[int, float]:
        """Of one position; empty for none."""
        return self.by_position.get(position, {})


def biased(logits: Logits, gains: Sequence[Mapping[int, float]]) -> Logits:
    """Logits with the gains of the first rows added; the argument stays as it is.

    Args:
        logits: Float32; there may be more rows than gains.
        gains: For each row its tokens and what they gain.
    """
    entries = [(row, token, gain) for row, own in enumerate(gains) for token, gain in own.items()]
    if not entries:
        return logits
    # In one piece, so that they move between devices with one transfer; ids are exact in float64.
    packed = torch.tensor(list(zip(*entries, strict=True)), dtype=torch.float64).to(logits.device, non_blocking=True)
    at = (packed[0].long(), packed[1].long())
    return logits.index_put(at, logits[at] + packed[2].float())  # no place comes twice


def packed_gains(gains: Sequence[Mapping[int, float]], vocab_size: int) -> Int[Tensor, "2 n"]:
    """All gains in one piece, on the host.

    Args:
        gains: For each row its tokens and what they gain.
        vocab_size: Logits of a row.

    Returns:
        Places among the logits of all rows, one row behind the other, and the bits of what is added there, as float64.
    """
    places = [row * vocab_size + token for row, own in enumerate(gains) for token in own]
    added = np.array([gain for own in gains for gain in own.values()], dtype=np.float64)
    return torch.from_numpy(np.stack([np.array(places, dtype=np.int64), added.view(np.int64)]))
