"""A second look at the distributions of a pass, for samplers that statistics are not enough for."""

import abc
from collections.abc import Callable, Sequence
from typing import TypeAlias

from jaxtyping import Float64
from torch import Tensor

from .bias import Bias
from .types import Logits


Columns: TypeAlias = Float64[Tensor, "C _"]
"""Numbers of some entries. Named once: what annotates an inner function is worked out at every call."""
Reader: TypeAlias = Callable[[Logits, Sequence[int]], Columns]
"""From logits (float32, guidance and forbidden tokens applied) and the numbers of the entries that the first rows
belong to, to columns of numbers. Further rows are padding: reductions over a fixed number of rows keep a row's bits
independent of its company."""


class Look(abc.ABC):
    """The distributions of B rows at their eligible positions, E entries in all, row after row."""

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
    def read(self, reader: Reader, bytes_per_entry: int) -> Float64[Tensor, "C E"]:
        """Columns of all entries, on the CPU, for whatever statistics do not give.

        Args:
            reader: Called for a limited number of entries at a time.
            bytes_per_entry: Peak bytes per logit while it works, its argument included.
        """
