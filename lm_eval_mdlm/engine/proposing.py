"""The tokens that positions take: the most likely ones, or samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.bias import Bias
from .query import Reading
from .reader import grouped
from .readout import Readout
from .row import Row


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
        drawn = readout.sample(rule, _picked_states(own), draws, gains)
        ends = np.cumsum([len(wish.picked) for wish in own])[:-1]
        for i, one in zip(members, np.split(np.array(drawn), ends), strict=True):
            tokens[i] = one
    return tokens


def _picked_states(wishes: Sequence[Wish]) -> Float[Tensor, "S D"]:
    """States of the picked positions of several rows; under guidance all unconditional ones follow the others."""
    together = torch.cat([wish.seen.states[0] for wish in wishes])
    starts = [0, *accumulate(len(wish.seen.states[0]) for wish in wishes)]
    sides = range(wishes[0].row.plan.nfe_per_step)
    places = [
        start + side * len(wish.row.wanted) + wish.picked
        for side in sides
        for wish, start in zip(wishes, starts, strict=False)
    ]
    return together[torch.from_numpy(np.concatenate(places)).to(together.device, non_blocking=True)]
