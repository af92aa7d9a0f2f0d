"""The evidence lower bound of a masked diffusion model: exact for few positions, else an unbiased estimate."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from ..proposal import RowKey
from .balance import balanced_sets, stratified_sizes
from .estimator import SMALLEST_ROUND, Estimate, Estimator, Masking, weighted_sum
from .spread import standard_error


@dataclass(frozen=True)
class Elbo(Estimator):
    """Mean over orders of the chain rule's log-probability, equally: over sizes x of L times the mean per masked token.

    If 2**L - 1 <= `mc_num`, every non-empty set of positions is masked once and the value is exact. Otherwise
    `mc_num` sets are drawn, with stratified sizes and balanced members; a set that comes again is not run again.
    Source of the bound: Nie et al. 2025 (LLaDA), arXiv:2502.09992; unlike theirs, the sizes here are uniform.
    """

    mc_num: int = 128
    """Most passes, at least 1."""

    def is_exact(self, length: int) -> bool:
        """Whether all sets of positions are within the passes."""
        return length < self.mc_num.bit_length() or 2**length - 1 <= self.mc_num

    def num_passes(self, length: int) -> int:
        """2**L - 1 or `mc_num`."""
        return 2**length - 1 if self.is_exact(length) else self.mc_num

    def rounds(self, length: int) -> list[int]:
        """Eighths of `mc_num`, of 16 passes or more each; only the whole where the value is exact."""
        if self.is_exact(length):
            return [self.num_passes(length)]
        step = max(-(-self.mc_num // 8), SMALLEST_ROUND)
        return [*range(step, self.mc_num, step), self.mc_num]

    def maskings(self, length: int, key: RowKey) -> list[Masking]:
        """See `Estimator.maskings`."""
        if self.is_exact(length):
            return _every_set(length)
        generator = key.generator("likelihood")
        sizes = stratified_sizes(length, generator.random(), self.mc_num)
        return _without_repeats(balanced_sets(length, sizes, generator))

    def estimate(self, length: int, maskings: Sequence[Masking], log_probs: Sequence[NDArray[np.float32]]) -> Estimate:
        """See `Estimator.estimate`."""
        if self.is_exact(length):
            return Estimate(weighted_sum(maskings, log_probs), 0.0)
        masked, values = _tables(length, maskings, log_probs)
        value = float(length * (values.sum(1) / masked.sum(1)).mean())
        return Estimate(value, standard_error(masked, values))


def _every_set(length: int) -> list[Masking]:
    sets = (
        np.array(members, np.int64)
        for size in range(1, length + 1)
        for members in itertools.combinations(range(length), size)
    )
    return [Masking(one, one, 1 / (len(one) * math.comb(length, len(one)))) for one in sets]


def _without_repeats(sets: Bool[np.ndarray, "n L"]) -> list[Masking]:
    """Maskings in the order of the sets; the first of equal ones carries the weight of all of them."""
    count, length = sets.shape
    content = [one.tobytes() for one in sets]
    first = {one: i for i, one in reversed(list(enumerate(content)))}
    maskings = []
    for i, one in enumerate(sets):
        where = np.flatnonzero(one)
        repeats = content.count(content[i]) if first[content[i]] == i else 0
        maskings.append(Masking(where, where if repeats else where[:0], repeats * length / (len(where) * count)))
    return maskings


def _tables(
    length: int, maskings: Sequence[Masking], log_probs: Sequence[NDArray[np.float32]]
) -> tuple[Bool[np.ndarray, "n L"], Float64[np.ndarray, "n L"]]:
    """Which positions were masked in each sample, and their log-probabilities there, 0 elsewhere."""
    masked = np.zeros((len(maskings), length), dtype=bool)
    values = np.zeros((len(maskings), length))
    known: dict[bytes, NDArray[np.float32]] = {}
    for i, (one, found) in enumerate(zip(maskings, log_probs, strict=True)):
        masked[i, one.masked] = True
        values[i, one.masked] = known.setdefault(one.masked.tobytes(), found)
    return masked, values
