"""What every estimate of a log-likelihood is made of: passes over a masked continuation, and their weighted sum.

Nothing here knows the network: it is told which positions are hidden in a pass and gives the log-probabilities of
the tokens that stand there.
"""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..proposal import RowKey


SMALLEST_ROUND = 16
"""Samples below which a standard error says too little to stop by."""


@dataclass(frozen=True, eq=False)
class Masking:
    """One pass of an estimate over a continuation of L tokens."""

    masked: NDArray[np.int64]
    """Positions in the continuation that are hidden in this pass, ascending."""
    scored: NDArray[np.int64]
    """Subset of `masked`, ascending, whose log-probabilities count; where it is empty, the pass need not be run."""
    weight: float
    """Of the sum of these log-probabilities; the estimate from all passes is the weighted sum."""

    def moved(self, by: int) -> "Masking":
        """The same pass over a continuation that begins so many positions further on."""
        return Masking(self.masked + by, self.scored + by, self.weight)


@dataclass(frozen=True)
class Estimate:
    """An estimate of the log-probability of a continuation given its context."""

    value: float
    """Nats."""
    standard_error: float
    """Of `value`, nats; 0 where it is exact, infinite where a single sample, or an infinite one, says nothing of it."""


class Estimator(abc.ABC):
    """A way to estimate log-likelihoods; a frozen dataclass whose fields are its options."""

    appends_end: bool = False
    """Whether an end-of-text token stands, visible, behind the continuation; it is never hidden nor scored."""

    @abc.abstractmethod
    def maskings(self, length: int, key: RowKey) -> list[Masking]:
        """The passes over a continuation of `length` >= 1 tokens, in the order in which to run them."""

    def rounds(self, length: int) -> list[int]:
        """Numbers of first passes, ascending, after which `estimate` may be asked; the last is all of them."""
        return [self.num_passes(length)]

    @abc.abstractmethod
    def num_passes(self, length: int) -> int:
        """Number of `maskings`, those that need not be run included."""

    def estimate(self, length: int, maskings: Sequence[Masking], log_probs: Sequence[NDArray[np.float32]]) -> Estimate:
        """The estimate from all passes, or from as many of the first as `rounds` allows.

        Args:
            length: L >= 1.
            maskings: What `maskings` gave, or its beginning.
            log_probs: For each of them, log-probabilities of the tokens at `scored`, in nats.
        """
        return Estimate(weighted_sum(maskings, log_probs), 0.0)


def weighted_sum(maskings: Sequence[Masking], log_probs: Sequence[NDArray[np.float32]]) -> float:
    """Sum over the passes of weight times summed log-probabilities, in float64."""
    passes = zip(maskings, log_probs, strict=True)
    return math.fsum(one.weight * float(found.sum(dtype=np.float64)) for one, found in passes)


def mean_of_independent(values: NDArray[np.float64]) -> Estimate:
    """Mean of independent values of equal expectation, with the standard error of their spread, if it is finite."""
    spread = len(values) > 1 and np.isfinite(values).all()
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if spread else math.inf
    return Estimate(float(values.mean()), error)
