"""A second look at the distributions of a pass, for samplers that statistics are not enough for."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from .bias import Bias
from .types import Logits


Reader: TypeAlias = Callable[[Logits, Sequence[int]], Float64[Tensor, "C _"]]
"""From logits (float32, guidance and forbidden tokens applied) and the numbers of the entries that the first rows
belong to, to columns of numbers. Further rows are padding: reductions over a fixed number of rows keep a row's bits
independent of its company."""


@dataclass(frozen=True, eq=False)
class States:
    """Last hidden states of some positions of one row, on the device; 2 x 8 kB each at a width of 4,096."""

    positions: NDArray[np.int64]
    """In the region, ascending."""
    values: Float[Tensor, "_ D"]
    """One per position; under guidance the unconditional ones follow."""

    def at(self, positions: NDArray[np.int64]) -> "States":
        """Of these positions, which must be among the own ones."""
        found = np.searchsorted(self.positions, positions)
        assert np.array_equal(self.positions[found], positions), "states that were not kept are asked for"
        sides = len(self.values) // len(self.positions) if len(self.positions) else 1
        places = np.concatenate([side * len(self.positions) + found for side in range(sides)])
        return States(positions, self.values[torch.from_numpy(places).to(self.values.device, non_blocking=True)])


class Look(abc.ABC):
    """The distributions of B rows at their eligible positions, E entries in all, row after row."""

    @property
    @abc.abstractmethod
    def states(self) -> Sequence[States]:
        """Of every row's eligible positions; they may be kept for later passes."""

    @property
    @abc.abstractmethod
    def temperatures(self) -> Sequence[float]:
        """Of every entry."""

    @property
    @abc.abstractmethod
    def seeds(self) -> Sequence[int]:
        """Of the draw at every entry in this pass, in [0, 2**128)."""

    @abc.abstractmethod
    def statistics(self, biases: Sequence[Bias]) -> Float64[Tensor, "C E"]:
        """Packed statistics of all entries with a bias for every row, on the CPU."""

    @abc.abstractmethod
    def divergence(self, before: Sequence[States]) -> NDArray[np.float32]:
        """(E,) KL divergences of all entries from the distributions that other states of their positions have, nats.

        Args:
            before: For every row states of its eligible positions.
        """

    @abc.abstractmethod
    def read(self, reader: Reader, bytes_per_entry: int) -> Float64[Tensor, "C E"]:
        """Columns of all entries, on the CPU, for whatever the two above do not give.

        Args:
            reader: Called for a limited number of entries at a time.
            bytes_per_entry: Peak bytes per logit while it works, its argument included.
        """
