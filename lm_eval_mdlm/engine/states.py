"""States of several jobs side by side, as a readout takes them."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.logits import LogitRule


def states_at(
    rule: LogitRule, states: Sequence[Float[Tensor, "_ D"]], places: Sequence[NDArray[np.int64]]
) -> Float[Tensor, "S D"]:
    """Some states of several jobs; under guidance all unconditional ones follow the conditional ones.

    Args:
        rule: Of all jobs.
        states: Of each job, as a reading has them.
        places: For each job, which of its wanted positions.
    """
    together, sides = torch.cat(list(states)), 2 if rule.guided else 1
    starts = [0, *accumulate(len(own) for own in states)]
    index = np.concatenate(
        [
            start + side * (len(own) // sides) + at
            for side in range(sides)
            for own, at, start in zip(states, places, starts, strict=False)
        ]
    )
    return together[torch.from_numpy(index).to(together.device, non_blocking=True)]
