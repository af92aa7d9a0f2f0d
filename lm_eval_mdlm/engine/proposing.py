"""The tokens that positions take: the most likely ones, or samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..decoding.bias import Bias
from .query import Reading
from .reader import grouped
from .readout import Readout
from .row import Row
from .states import states_at


@dataclass(frozen=True, eq=False)
class Wish:
    """Positions of one row that want a token."""

    row: Row
    seen: Reading
    """Of the row's wanted positions alone."""
    picked: NDArray[np.int64]
    """Indices into `wanted`, ascending."""
    bias: Bias | None = None
    """Added to the logits that samples are drawn from."""

    @property
    def gains(self) -> list[Mapping[int, float]]:
        """What the bias adds, position by position."""
        positions = self.row.wanted[self.picked].tolist()
        return [{} if self.bias is None else self.bias.at(position) for position in positions]


def propose(readout: Readout, wishes: Sequence[Wish]) -> list[NDArray[np.int64]]:
    """A token for every picked position, row by row.

    All samples of one rule are drawn together: one call of the head, or a few, and one wait for the device.
    """
    tokens = [wish.seen.argmax[wish.picked] for wish in wishes]
    drawing = [i for i, wish in enumerate(wishes) if wish.row.plan.temperature > 0 and len(wish.picked)]
    for rule, members in grouped(drawing, lambda i: wishes[i].row.plan.logit_rule).items():
        own = [wishes[i] for i in members]
        draws = [wish.row.draw(int(position)) for wish in own for position in wish.row.wanted[wish.picked]]
        gains = [gain for wish in own for gain in wish.gains] if any(wish.bias for wish in own) else None
        states = states_at(rule, [wish.seen.states[0] for wish in own], [wish.picked for wish in own])
        drawn = readout.sample(rule, states, draws, gains)
        ends = np.cumsum([len(wish.picked) for wish in own])[:-1]
        for i, one in zip(members, np.split(np.array(drawn), ends), strict=True):
            tokens[i] = one
    return tokens
