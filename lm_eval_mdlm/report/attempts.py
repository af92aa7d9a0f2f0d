"""pass@k: how often one of k attempts is right, from n attempts at each problem."""

import math
from collections.abc import Sequence


def pass_at(k: int, attempts: Sequence[tuple[int, int]]) -> float:
    """Mean over problems of the chance that k attempts out of a problem's n hold a right one.

    Unbiased (Chen et al. 2021, arXiv:2107.03374).

    Args:
        k: At least 1, at most the least n.
        attempts: For each problem n and how many of them are right.
    """
    return math.fsum(1 - math.comb(n - right, k) / math.comb(n, k) for n, right in attempts) / len(attempts)
