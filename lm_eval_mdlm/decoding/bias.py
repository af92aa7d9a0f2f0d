"""What is added to a few logits of a position before anything is read from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Int32
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


def packed_gains(gains: Sequence[Mapping[int, float]], num_rows: int) -> Int32[Tensor, " n"]:
    """All gains in one piece, on the host.

    Args:
        gains: For each of the first rows its tokens and what they gain.
        num_rows: Of all rows, at least as many.

    Returns:
        Where the entries of every row begin, row after row, and where the last ones end; then the tokens of all
        entries, and the bits of what these gain, as float32.
    """
    counts = [len(own) for own in gains] + [0] * (num_rows - len(gains))
    tokens = [token for own in gains for token in own]
    added = np.array([gain for own in gains for gain in own.values()], dtype=np.float32)
    index = np.array([0, *accumulate(counts), *tokens], dtype=np.int32)
    return torch.from_numpy(np.concatenate([index, added.view(np.int32)]))
