"""Which passes of recorded rows are looked at again."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .order import num_passes
from .steps import Steps


State: TypeAlias = tuple[Steps, int]
"""A row, and the number of one of its passes from 0."""


def parallel_steps(rows: Sequence[Steps]) -> list[State]:
    """Every pass that committed several masks and replaced nothing, but for those that an exit ended."""
    found = []
    for row in rows:
        for step, region in zip(range(num_passes(row)), row.regions(), strict=False):
            own = row.positions[row.of_step(step)]
            if len(own) > 1 and (region[own] == row.mask_token_id).all():
                found.append((row, step))
    return found


def open_answers(rows: Sequence[Steps]) -> tuple[list[State], list[State]]:
    """Every pass that found a mask in the answer: exits, and the others."""
    exits: list[State] = []
    others: list[State] = []
    for row in rows:
        for step, region in zip(range(row.num_steps), row.regions(), strict=False):
            if (region[row.answer_positions] == row.mask_token_id).any():
                (exits if step == num_passes(row) else others).append((row, step))
    return exits, others


def masked_answer(row: Steps, step: int) -> NDArray[np.int64]:
    """Answer positions that a pass found masked, ascending."""
    found: NDArray[np.int64] = row.answer_positions[row.region_before(step)[row.answer_positions] == row.mask_token_id]
    return found


def drawn(states: Sequence[State], number: int) -> list[State]:
    """So many of them, at random with seed 0, in their order; all if there are no more."""
    if len(states) <= number:
        return list(states)
    chosen = np.random.default_rng(0).choice(len(states), size=max(number, 0), replace=False)
    return [states[i] for i in sorted(chosen.tolist())]
