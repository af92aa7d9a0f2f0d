"""Log-probabilities of every token under every set of masked positions, at random, and sums over all of them."""

import itertools
import math

import numpy as np

from lm_eval_mdlm.decoding.proposal import RowKey


class RandomTable:
    """log p(x_i | all but S) for every i in S, without any structure but what the seed gives."""

    def __init__(self, length: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.length = length
        self.of_set = {
            members: generator.normal(-2, 1, length).astype(np.float32)
            for size in range(1, length + 1)
            for members in itertools.combinations(range(length), size)
        }

    def __call__(self, masking) -> np.ndarray:
        """What a pass over the masking would give."""
        if not len(masking.scored):
            return np.zeros(0, np.float32)
        return self.of_set[tuple(masking.masked.tolist())][masking.scored]

    def chain(self, order) -> float:
        """Log-probability by the chain rule in this order."""
        left = [tuple(sorted(order[step:])) for step in range(self.length)]
        return math.fsum(float(self.of_set[masked][i]) for masked, i in zip(left, order, strict=True))

    def mean_over_orders(self) -> float:
        orders = list(itertools.permutations(range(self.length)))
        return math.fsum(map(self.chain, orders)) / len(orders)


def key(number: int) -> RowKey:
    return RowKey.of(number, [7], [1, 2], 0)


def estimated(estimator, table, number: int, first: int | None = None):
    maskings = estimator.maskings(table.length, key(number))[:first]
    return estimator.estimate(table.length, maskings, [table(one) for one in maskings])


def content(maskings) -> list[tuple]:
    return [(one.masked.tolist(), one.scored.tolist(), one.weight) for one in maskings]
