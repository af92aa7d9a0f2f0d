"""How a policy gets its second look: the head once more, over states that the pass has left."""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.bias import Bias
from ..decoding.logits import LogitRule
from ..decoding.look import Columns, Look, Reader
from .kept import logits_at
from .query import Reading
from .reader import grouped
from .readout import Readout
from .row import Row
from .states import states_at


class PassLook(Look):
    """One pass over rows of one policy, at their eligible positions."""

    def __init__(self, rows: Sequence[Row], reading: Reading, readout: Readout) -> None:
        self._rows, self._reading, self._readout = rows, reading, readout

    @cached_property
    def _starts(self) -> list[int]:
        """Number of every row's first entry, and of all entries."""
        return [0, *accumulate(int(row.wanted_eligible.sum()) for row in self._rows)]

    @cached_property
    def _places(self) -> list[NDArray[np.int64]]:
        """Of every row's entries among its wanted positions."""
        return [row.wanted_eligible.nonzero()[0] for row in self._rows]

    @property
    def temperatures(self) -> Sequence[float]:
        """See `Look`."""
        return [row.plan.temperature for row in self._rows for _ in range(int(row.wanted_eligible.sum()))]

    @property
    def seeds(self) -> Sequence[int]:
        """See `Look`."""
        return [row.draw_seed(int(at)) for row in self._rows for at in row.wanted[row.wanted_eligible]]

    def statistics(self, biases: Sequence[Bias]) -> Float64[Tensor, "C E"]:
        """See `Look`."""

        def read(rule: LogitRule, members: Sequence[int]) -> Columns:
            gains = [biases[i].at(at) for i in members for at in self._rows[i].wanted[self._places[i]].tolist()]
            logits = [self._reading.logits[i] for i in members]
            if all(logits):
                return self._readout.biased(rule, logits_at(logits, [self._places[i] for i in members]), gains)
            return self._readout.biased_statistics(rule, self._states(rule, members), gains)

        return self._by_rule(read)

    def read(self, reader: Reader, bytes_per_entry: int) -> Float64[Tensor, "C E"]:
        """See `Look`."""

        def read(rule: LogitRule, members: Sequence[int]) -> Columns:
            states = self._states(rule, members)
            return self._readout.look(rule, states, reader, self._entries(members), bytes_per_entry)

        return self._by_rule(read)

    def _entries(self, members: Sequence[int]) -> list[int]:
        return [entry for i in members for entry in range(self._starts[i], self._starts[i + 1])]

    def _by_rule(self, read: Callable[[LogitRule, Sequence[int]], Columns]) -> Float64[Tensor, "C E"]:
        """What is read of all rows, those of one logit rule at a time."""
        columns: Float64[Tensor, "C E"] | None = None
        for rule, members in grouped(range(len(self._rows)), lambda i: self._rows[i].plan.logit_rule).items():
            found = read(rule, members)
            if len(members) == len(self._rows):
                return found
            if columns is None:
                columns = torch.empty(len(found), self._starts[-1], dtype=torch.float64)
            columns[:, self._entries(members)] = found
        assert columns is not None
        return columns

    def _states(self, rule: LogitRule, members: Sequence[int]) -> Float[Tensor, "S D"]:
        return states_at(rule, [self._reading.states[i] for i in members], [self._places[i] for i in members])
