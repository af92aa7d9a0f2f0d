"""A few combinations of many options, such that every two values stand together in at least one of them."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any


Cell = dict[str, Any]


def pairs_of(cell: Mapping[str, Any]) -> set[tuple[tuple[str, Any], ...]]:
    return set(itertools.combinations(sorted(cell.items()), 2))


def pairwise(factors: Mapping[str, Sequence[Any]], seed: int, *, tries: int = 30) -> list[Cell]:
    """Combinations that cover all pairs of values; greedily, so that they are not many more than must be."""
    draw = random.Random(seed)
    values = [[(name, value) for value in factors[name]] for name in sorted(factors)]
    missing = {pair for two in itertools.combinations(values, 2) for pair in itertools.product(*two)}
    cells = []
    while missing:
        wanted = min(missing, key=repr)
        drawn = [{name: draw.choice(factors[name]) for name in factors} | dict(wanted) for _ in range(tries)]
        cells.append(max(drawn, key=lambda cell: len(pairs_of(cell) & missing)))
        missing -= pairs_of(cells[-1])
    return cells
