"""The estimators that were published with LLaDA and with Dream, as they are, for comparison with published figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ..proposal import RowKey
from .estimator import SMALLEST_ROUND, Estimate, Estimator, Masking, mean_of_independent


@dataclass(frozen=True)
class PublishedLLaDA(Estimator):
    """Rounds of `mc_batch` sets whose sizes lie evenly from a random one on, around 1..L.

    Sizes are rounded half to even, so they are not uniform where `mc_batch` does not divide L, and the estimate is
    biased. Source: `get_log_likelihood.py` of Nie et al. 2025 (LLaDA), arXiv:2502.09992.
    """

    mc_num: int = 128
    """Passes; a multiple of `mc_batch`."""
    mc_batch: int = 8

    def num_passes(self, length: int) -> int:
        """`mc_num`."""
        return self.mc_num

    def rounds(self, length: int) -> list[int]:
        """Whole rounds, of 16 passes or more together."""
        return _whole_rounds(self.mc_num, self.mc_batch)

    def maskings(self, length: int, key: RowKey) -> list[Masking]:
        """See `Estimator.maskings`."""
        generator = key.generator("likelihood")
        starts = generator.integers(1, length + 1, self.mc_num // self.mc_batch)
        orders = np.argsort(generator.random((self.mc_num, length)), axis=1)
        return self.maskings_of(starts, orders.astype(np.int64))

    def maskings_of(self, starts: Int64[np.ndarray, " rounds"], orders: Int64[np.ndarray, "n L"]) -> list[Masking]:
        """The maskings that given draws lead to.

        Args:
            starts: `k` of every round, in 1..L.
            orders: A permutation of 0..L-1 per pass; the positions at which it is below the size are masked.
        """
        count, length = orders.shape
        sizes = np.concatenate([self.sizes(int(start), length) for start in starts])
        sets = [np.flatnonzero(order < size) for order, size in zip(orders, sizes, strict=True)]
        return [Masking(one, one, length / (len(one) * count)) for one in sets]

    def sizes(self, start: int, length: int) -> NDArray[np.int64]:
        """Numbers of masked positions in a round that begins at `start`."""
        end = float(np.float32(start + (self.mc_batch - 1) * (length / self.mc_batch)))
        step = float(np.float32(end - start) / np.float32(max(self.mc_batch - 1, 1)))
        # In float32 and from both ends, as torch.linspace does: which places are half-integers may depend on it.
        forth = np.arange(self.mc_batch)
        places = np.where(forth < self.mc_batch // 2, start + step * forth, end - step * forth[::-1]).astype(np.float32)
        return (np.rint(places).astype(np.int64) - 1) % length + 1

    def estimate(self, length: int, maskings: Sequence[Masking], log_probs: Sequence[NDArray[np.float32]]) -> Estimate:
        """See `Estimator.estimate`. The standard error leaves the bias out."""
        if length == 1:  # every pass is the same
            return Estimate(float(log_probs[0][0]), 0.0)
        return _mean_of_rounds(maskings, log_probs, self.num_passes(length), self.mc_batch)


@dataclass(frozen=True)
class PublishedDream(Estimator):
    """Rounds of `mc_batch` passes at evenly spaced rates p, each position masked with probability p and weighted 1 / p.

    A pass may mask nothing; it need not be run. p is at least `EPSILON`, which biases the estimate by as much.
    Source: `eval/eval.py` of Ye et al. 2025 (Dream), arXiv:2508.15487.
    """

    mc_num: int = 128
    mc_batch: int = 32
    """32 in the published commands. There are max(mc_num // mc_batch, 1) rounds."""

    appends_end: bool = True
    EPSILON: ClassVar[float] = 1e-3

    def num_passes(self, length: int) -> int:
        """`mc_batch` times the number of rounds."""
        return max(self.mc_num // self.mc_batch, 1) * self.mc_batch

    def rounds(self, length: int) -> list[int]:
        """Whole rounds."""
        return _whole_rounds(self.num_passes(length), self.mc_batch)

    def maskings(self, length: int, key: RowKey) -> list[Masking]:
        """See `Estimator.maskings`."""
        generator = key.generator("likelihood")
        count = self.num_passes(length)
        starts = generator.random(count // self.mc_batch, dtype=np.float32)
        return self.maskings_of(starts, generator.random((count, length), dtype=np.float32))

    def maskings_of(
        self, starts: Float32[np.ndarray, " rounds"], uniforms: Float32[np.ndarray, "n L"]
    ) -> list[Masking]:
        """The maskings that given draws lead to.

        Args:
            starts: `u0` of every round, in [0, 1).
            uniforms: A number in [0, 1) for every pass and position, which is masked where it is below p.
        """
        places = np.arange(self.mc_batch, dtype=np.float32) / np.float32(self.mc_batch)
        times = ((starts[:, None] + places) % np.float32(1)).ravel()
        rates = np.float32(1 - self.EPSILON) * times + np.float32(self.EPSILON)
        sets = [np.flatnonzero(row < rate) for row, rate in zip(uniforms, rates, strict=True)]
        return [Masking(one, one, 1 / (float(rate) * len(sets))) for one, rate in zip(sets, rates, strict=True)]

    def estimate(self, length: int, maskings: Sequence[Masking], log_probs: Sequence[NDArray[np.float32]]) -> Estimate:
        """See `Estimator.estimate`. The standard error leaves the bias out."""
        return _mean_of_rounds(maskings, log_probs, self.num_passes(length), self.mc_batch)


def _whole_rounds(count: int, batch: int) -> list[int]:
    step = -(-SMALLEST_ROUND // batch) * batch
    return [*range(step, count, step), count]


def _mean_of_rounds(
    maskings: Sequence[Masking], log_probs: Sequence[NDArray[np.float32]], count: int, batch: int
) -> Estimate:
    """Mean of `count` passes' values or of the first ones; rounds are independent, the passes of one are not."""
    passes = zip(maskings, log_probs, strict=True)
    values = np.array([count * one.weight * float(found.sum(dtype=np.float64)) for one, found in passes])
    if len(values) < 2 * batch:
        return mean_of_independent(values)  # too large, since the passes of a round are spread evenly
    return mean_of_independent(values.reshape(-1, batch).mean(1))
