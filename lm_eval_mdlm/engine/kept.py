"""Distributions of a pass that are looked at again: in the same pass, or beside those of the next one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.transfer import on_device
from .states import index_of


@dataclass(frozen=True, eq=False)
class Kept:
    """Distributions of one job's wanted positions, on the device."""

    positions: NDArray[np.int64]
    """In the job's region, ascending."""
    states: Float[Tensor, "_ D"]
    """One per position, from which the head gives the distributions again; under guidance the unconditional ones
    follow. 2 x 8 kB each at a width of 4,096."""
    logits: tuple[Float[Tensor, "R V"], ...] = ()
    """What the head gave: conditional and, under guidance, unconditional; empty where that would take too much. Rows of
    one pass share a tensor, of no more than a readout lets a pass keep."""

    def beside(self, wanted: NDArray[np.int64], chosen: NDArray[np.bool_]) -> "Comparison":
        """What is compared with them in a pass that wants these positions, those that are chosen of them."""
        rows = chosen.nonzero()[0]
        found = np.searchsorted(self.positions, wanted[rows])
        assert np.array_equal(self.positions[found], wanted[rows]), "distributions that were not kept are asked for"
        return Comparison(rows, self, found)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Of one job, what is compared with the pass before."""

    rows: NDArray[np.int64]
    """Indices into the wanted positions, ascending."""
    before: Kept
    rows_before: NDArray[np.int64]
    """Of the same positions, indices into those of `before`."""


def logits_at(
    logits: Sequence[tuple[Float[Tensor, "_ V"], ...]], places: Sequence[NDArray[np.int64]]
) -> list[Float[Tensor, "R V"]]:
    """Some kept logits of several jobs side by side, once or, under guidance, twice.

    Args:
        logits: Of each job.
        places: For each job, which of its rows.
    """
    index = index_of([len(own[0]) for own in logits], places)
    together = [side[0] if len(side) == 1 else torch.cat(side) for side in zip(*logits, strict=True)]
    if index is None:
        return together
    at = on_device(torch.from_numpy(index), together[0].device)
    return [side[at] for side in together]
