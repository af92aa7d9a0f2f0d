"""How many passes rows took, and why they ended; from recordings alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .certainty import Quantiles, quantiles
from .steps import Steps


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Of all rows."""

    num_rows: int
    nominal: float
    """Mean number of masks: the passes at one token each, before guidance."""
    nfe: Quantiles | None
    """Passes that were run; guidance counts 2."""
    nfe_partial: float
    """Mean number of these that recomputed only part of the canvas."""
    speed_up: float
    """Nominal over actual steps."""
    stops: Mapping[str, int]
    """Rows by the reason of their end."""
    exit_step: Quantiles | None
    """Number of the pass that fired the exit, from 1; None without exits."""
    unfilled_share: Quantiles | None
    """Of masks outside of the answer, those that rows with an exit left; None without exits."""
    answer_entropy: Quantiles | None
    """At the exit, nats; None without exits."""


def passes_of(rows: Sequence[Steps]) -> Passes:
    """All rows together, at least one."""
    exits = [row for row in rows if row.stop == "exit"]
    masks = [int((row.region_ids == row.mask_token_id).sum()) for row in rows]
    return Passes(
        num_rows=len(rows),
        nominal=float(np.mean(masks)),
        nfe=quantiles([row.nfe for row in rows]),
        nfe_partial=float(np.mean([row.nfe_partial for row in rows])),
        speed_up=sum(masks) / max(1, sum(row.num_steps for row in rows)),
        stops=dict(sorted(Counter(row.stop for row in rows).items())),
        exit_step=quantiles([row.num_steps for row in exits]),
        unfilled_share=quantiles([unfilled_share(row) for row in exits]),
        answer_entropy=quantiles([float(row.answer_entropy[-1]) for row in exits]),
    )


def unfilled_share(row: Steps) -> float:
    """Of the masks outside of the answer that a row began with, those that it ended with."""
    outside = np.ones(len(row.region_ids), dtype=bool)
    outside[row.answer_positions] = False
    at_first = (row.region_ids == row.mask_token_id) & outside
    at_last = (row.region_before(row.num_steps) == row.mask_token_id) & outside
    return float(at_last.sum() / at_first.sum()) if at_first.any() else 0.0
