"""How a policy gets its second look: the head once more, over states that the pass has left."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

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

    def read(self, reader: Reader, beside: Sequence[States] | None = None) -> Float64[Tensor, "C E"]:
        """See `Look`."""
        columns: Float64[Tensor, "C E"] | None = None
        for rule, members in grouped(range(len(self._rows)), lambda i: self._rows[i].plan.logit_rule).items():
            entries = [entry for i in members for entry in range(self._starts[i], self._starts[i + 1])]
            own = _side_by_side([self.states[i] for i in members], rule.guided)
            others = None if beside is None else _side_by_side([beside[i] for i in members], rule.guided)
            found = self._readout.look(rule, own, reader, entries, others)
            if columns is None:
                columns = torch.empty(len(found), self._starts[-1], dtype=torch.float64)
            columns[:, entries] = found
        assert columns is not None
        return columns


def _side_by_side(states: Sequence[States], guided: bool) -> Float[Tensor, "S D"]:
    """States of several rows together; under guidance all unconditional ones follow the others."""
    values = [one.values for one in states]
    if guided:
        halves = [both.chunk(2) for both in values]
        values = [half for side in zip(*halves, strict=True) for half in side]
    return torch.cat(values)
