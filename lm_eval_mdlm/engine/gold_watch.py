"""The log-probability that a row's own passes give to a gold answer, which changes nothing else."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class GoldWatch:
    """Gold tokens at some positions of a region, and what was last said of them."""

    def __init__(self, positions: Sequence[int], gold: Sequence[int], region_length: int) -> None:
        """Gold tokens, perhaps none, for the first of the positions."""
        self._at = np.array(positions[: len(gold)], dtype=np.int64)
        self.tokens = np.zeros(region_length, dtype=np.int64)
        """(region,) of which all but those at gold positions are any tokens."""
        self.tokens[self._at] = gold
        self._log_probs = np.full(region_length, np.nan, dtype=np.float32)

    def note(self, positions: NDArray[np.int64], log_probs: NDArray[np.float32]) -> None:
        """Take what a pass says of `tokens` at some positions, nats."""
        self._log_probs[positions] = log_probs

    @property
    def log_prob(self) -> float | None:
        """Of the gold tokens, each in the last pass in which its position was a mask, nats; None if none was read."""
        own = self._log_probs[self._at]
        return None if not len(own) or np.isnan(own).any() else math.fsum(own.tolist())
