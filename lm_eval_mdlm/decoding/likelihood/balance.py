"""Sets of positions that are each uniform for their size and together cover positions and pairs evenly."""

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray


MOST_BALANCED = 256
"""Positions from which sets are drawn independently: balance takes time and memory by the square of the length."""
PAIR_BALANCE = 2.0
"""Weight of uneven pairs times L. Found by simulation (benchmarks/variance.py); 1 to 8 differ little."""


def stratified_sizes(length: int, start: float, count: int) -> NDArray[np.int64]:
    """Sizes `x = 1 + floor(((start + i / n) mod 1) * L)` for i = 0..n-1, in van der Corput order of i.

    With `start` uniform in [0, 1), each is uniform on 1..L for every n. The order makes a beginning of the list,
    above all one of n / 2**k sizes, spread over 1..L as evenly as the whole.
    """
    bits = (count - 1).bit_length()
    order = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)]
    places = np.array([i for i in order if i < count])
    return np.minimum(1 + np.floor((start + places / count) % 1.0 * length).astype(np.int64), length)


def balanced_sets(
    length: int, sizes: Int64[np.ndarray, " n"], generator: np.random.Generator
) -> Bool[np.ndarray, "n L"]:
    """Random sets of the given sizes, coupled so that an average over them depends little on the draw.

    The estimate is the sum over sets S of `1 / size(S)` times values of S's members. If a value were an effect of
    its position plus one of every other member of S, its error would come from uneven sums of these weights over
    positions W[j] and over pairs P[j, k] alone. Sets are built from small to large, since small ones weigh most,
    each member by member so that `sum W**2 + PAIR_BALANCE / L * sum P**2` grows least. Ties fall at random and
    nothing else tells positions apart, hence every single set is uniform among those of its size, and the estimate
    unbiased, however the sets hang together. Of more than `MOST_BALANCED` positions sets are independent.
    """
    chosen = np.zeros((len(sizes), length), dtype=bool)
    if length > MOST_BALANCED:
        for sample, size in enumerate(sizes):
            chosen[sample, generator.permutation(length)[:size]] = True
        return chosen
    weights = _PairWeights(length)
    for sample in np.argsort(sizes, kind="stable"):
        chosen[sample] = weights.lightest(int(sizes[sample]), generator)
        weights.add(chosen[sample])
    return chosen


class _PairWeights:
    """Weights that the sets so far have put on positions and on pairs of positions."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.single = np.zeros(length)
        self.pair = np.zeros((length, length))  # its diagonal means nothing
        self.pair_sum = np.zeros(length)  # over the partners of a position

    def add(self, members: Bool[np.ndarray, " L"]) -> None:
        where = np.flatnonzero(members)
        weight = 1 / len(where)
        self.single[where] += weight
        self.pair[np.ix_(where, where)] += weight
        self.pair_sum[where] += weight * (len(where) - 1)

    def lightest(self, size: int, generator: np.random.Generator) -> Bool[np.ndarray, " L"]:
        """A set of `size` positions that carry little weight, alone and with each other."""
        factor = 2 * PAIR_BALANCE / self.length
        cost = self.single + 1e-9 * generator.random(self.length)
        if 2 * size <= self.length:
            return self._grown(cost, size, factor)
        # What is left out is chosen instead: fewer steps, and the same objective up to a constant.
        return ~self._grown(-cost - factor * self.pair_sum, self.length - size, factor)

    def _grown(self, cost: Float64[np.ndarray, " L"], size: int, factor: float) -> Bool[np.ndarray, " L"]:
        cost = cost.copy()
        members = np.zeros(self.length, dtype=bool)
        for _ in range(size):
            member = int(cost.argmin())
            members[member] = True
            cost += factor * self.pair[member]
            cost[member] = np.inf
        return members
