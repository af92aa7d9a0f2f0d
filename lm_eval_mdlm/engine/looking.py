"""How a policy gets its second look: the head once more, over states that the pass has left."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.bias import Bias
from ..decoding.logits import LogitRule
from ..decoding.look import Look, Reader, States
from .query import Reading
from .reader import grouped
from .readout import Readout
from .row import Row


class PassLook(Look):
    """One pass over rows of one policy, at their eligible positions."""

    def __init__(self, rows: Sequence[Row], reading: Reading, readout: Readout, eligible: Bool[Tensor, "B N"]) -> None:
        self._rows, self._reading, self._readout = rows, reading, readout
        counts = [int(row.wanted_eligible.sum()) for row in rows]
        self._starts = np.cumsum([0, *counts]).tolist()
        assert self._starts[-1] == int(eligible.sum())

    @cached_property
    def states(self) -> Sequence[States]:
        """See `Look`."""
        return [
            States(row.wanted, states).at(row.wanted[row.wanted_eligible])
            for row, states in zip(self._rows, self._reading.states, strict=True)
        ]

    @property
    def temperatures(self) -> Sequence[float]:
        """See `Look`."""
        return [row.plan.temperature for row in self._rows for _ in row.wanted_eligible.nonzero()[0]]

    @property
    def seeds(self) -> Sequence[int]:
        """See `Look`."""
        return [row.draw_seed(int(at)) for row in self._rows for at in row.wanted[row.wanted_eligible]]

    def statistics(self, biases: Sequence[Bias]) -> Float64[Tensor, "C E"]:
        """See `Look`."""
        places = [row.wanted[row.wanted_eligible].tolist() for row in self._rows]

        def read(rule: LogitRule, members: Sequence[int]) -> Float64[Tensor, "C _"]:
            gains = [biases[i].at(position) for i in members for position in places[i]]
            return self._readout.biased_statistics(rule, self._together(rule, self.states, members), gains)

        return self._by_rule(read)

    def divergence(self, before: Sequence[States]) -> NDArray[np.float32]:
        """See `Look`."""

        def read(rule: LogitRule, members: Sequence[int]) -> Float64[Tensor, "1 _"]:
            both = (self._together(rule, sides, members) for sides in (self.states, before))
            return self._readout.divergence(rule, *both).double()[None]

        found: NDArray[np.float32] = self._by_rule(read)[0].float().numpy()
        return found

    def read(self, reader: Reader, bytes_per_entry: int) -> Float64[Tensor, "C E"]:
        """See `Look`."""

        def read(rule: LogitRule, members: Sequence[int]) -> Float64[Tensor, "C _"]:
            states = self._together(rule, self.states, members)
            return self._readout.look(rule, states, reader, self._entries(members), bytes_per_entry)

        return self._by_rule(read)

    def _entries(self, members: Sequence[int]) -> list[int]:
        return [entry for i in members for entry in range(self._starts[i], self._starts[i + 1])]

    def _by_rule(self, read: Callable[[LogitRule, Sequence[int]], Float64[Tensor, "C _"]]) -> Float64[Tensor, "C E"]:
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

    def _together(self, rule: LogitRule, states: Sequence[States], members: Sequence[int]) -> Float[Tensor, "S D"]:
        """States of several rows; under guidance all unconditional ones follow the others."""
        values = [states[i].values for i in members]
        if rule.guided:
            halves = [both.chunk(2) for both in values]
            values = [half for side in zip(*halves, strict=True) for half in side]
        return torch.cat(values) if len(values) > 1 else values[0]
