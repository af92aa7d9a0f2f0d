"""In which order rows were filled, against left to right; from recordings alone.

The pass that an exit ends is left out: it fills the answer as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from .steps import Steps


@dataclass(frozen=True, kw_only=True)
class Order:
    """Means over rows, each row's being over its commits."""

    leftmost_share: float
    """Of commits with no mask left standing to their left by their pass; 1 from left to right."""
    mean_distance: float
    """Masks that a commit's pass left standing to its left."""
    kendall_tau: float | None
    """Between positions and the passes that committed them (tau-b): 1 from left to right one by one, less where a pass
    is a tie, -1 from right to left; over rows with two passes or more, None without any."""
    tokens_per_step: float
    """All commits over all passes."""
    early_end_share: float
    """Of rows that committed an end-of-text token while more than half of their masks were left."""
    num_rows: int


def order_of(rows: Sequence[Steps]) -> Order | None:
    """The order of all rows together; None if none has a commit."""
    own = [(row, _distances(row)) for row in rows if num_passes(row) and len(row.positions)]
    own = [(row, distances) for row, distances in own if len(distances)]
    if not own:
        return None
    taus = [tau for row, _ in own if (tau := _tau(row)) is not None]
    return Order(
        leftmost_share=float(np.mean([(distances == 0).mean() for _, distances in own])),
        mean_distance=float(np.mean([distances.mean() for _, distances in own])),
        kendall_tau=float(np.mean(taus)) if taus else None,
        tokens_per_step=sum(len(distances) for _, distances in own) / sum(num_passes(row) for row, _ in own),
        early_end_share=float(np.mean([_ends_early(row) for row, _ in own])),
        num_rows=len(own),
    )


def num_passes(row: Steps) -> int:
    """Passes without the one that an exit ended."""
    return row.num_steps - (row.stop == "exit")


def _distances(row: Steps) -> NDArray[np.int64]:
    """Of every commit; tokens that replace others are none."""
    masked = row.region_ids == row.mask_token_id
    found = []
    for step in range(num_passes(row)):
        own = row.positions[row.of_step(step)]
        new = own[masked[own]]
        masked[new] = False
        found.append(np.cumsum(masked)[new])
        masked[row.remasked_in(step)] = True
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _tau(row: Steps) -> float | None:
    """Of the positions' last commits."""
    last = {}
    for step in range(num_passes(row)):
        last.update(dict.fromkeys(row.positions[row.of_step(step)].tolist(), step))
    if len(set(last.values())) < 2:
        return None
    return float(kendalltau(list(last.keys()), list(last.values())).statistic)


def _ends_early(row: Steps) -> bool:
    total = int((row.region_ids == row.mask_token_id).sum())
    for step in range(num_passes(row)):
        own = row.of_step(step)
        if 2 * (total - int(own.start)) <= total:
            return False
        if np.isin(row.tokens[own], row.end_token_ids).any():
            return True
    return False
