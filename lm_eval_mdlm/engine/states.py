"""States of several jobs side by side, as a readout takes them."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.logits import LogitRule
from ..decoding.transfer import on_device


def states_at(
    rule: LogitRule, states: Sequence[Float[Tensor, "_ D"]], places: Sequence[NDArray[np.int64]]
) -> Float[Tensor, "S D"]:
    """Some states of several jobs; under guidance all unconditional ones follow the conditional ones.

    Args:
        rule: Of all jobs.
        states: Of each job, as a reading has them.
        places: For each job, which of its wanted positions.
    """
    together, sides = states[0] if len(states) == 1 else torch.cat(list(states)), 2 if rule.guided else 1
    index = index_of([len(own) for own in states], places, sides)
    return together if index is None else together[on_device(torch.from_numpy(index), together.device)]


def index_of(sizes: Sequence[int], places: Sequence[NDArray[np.int64]], sides: int = 1) -> NDArray[np.int64] | None:
    """Where rows of several jobs are once all rows stand one behind the other; None for all of them as they stand.

    Args:
        sizes: Rows of each job.
        places: For each job, which of its rows, or of each of its halves.
        sides: Parts of equal size that each job's rows have; those of all jobs come side after side.
    """
    starts = [0, *accumulate(sizes)]
    index = np.concatenate(
        [
            start + side * (size // sides) + at
            for side in range(sides)
            for size, at, start in zip(sizes, places, starts, strict=False)
        ]
    )
    as_they_stand = len(index) == starts[-1] and bool((index == np.arange(len(index))).all())
    return None if as_they_stand else index
