"""From a few requests answered under a clock to what all of them take."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..engine.schedule import Budget
from .pass_costs import Demand, PassCost, num_passes
from .sizes import Size
from .trial import Trial


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What answering all requests takes."""

    demands: tuple[Demand, ...]
    passes: int
    seconds: float
    error: float
    """Standard error of `seconds` from the number of requests tried, relative."""
    cost: PassCost
    nfe_per_pass: float
    """Of a job: 2 under guidance."""
    unfinished: int
    """Requests tried that had begun and not ended when the time was up."""


def forecast(sizes: Sequence[Size], groups: Sequence[Sequence[int]], trial: Trial, budget: Budget) -> Forecast:
    """From some requests to all.

    Args:
        sizes: Of all requests.
        groups: Numbers of those that are alike, such as a task's, each number in one of them; a group without a
            finished request takes what the others do.
        trial: Of some of them.
        budget: Limits of a pass.
    """
    ratios = {i: ratio for i, own in trial.watched.items() if (ratio := own.per_size(sizes[i])) is not None}
    everyones = list(ratios.values()) or [1.0]
    computed = _computed_share(sizes, trial)
    demands: list[Demand | None] = [None] * len(sizes)
    variance = 0.0
    for group in groups:
        own = [ratios[i] for i in group if i in ratios] or everyones
        for place, i in enumerate(group):
            demands[i] = sizes[i].demand(own[place % len(own)], computed)
        if len(own) > 1:
            # Those that were tried are known, so that a trial of all leaves nothing open.
            left = 1 - sum(i in ratios for i in group) / len(group)
            error_of_mean = statistics.stdev(own) * math.sqrt(max(left, 0.0) / len(own))
            variance += (error_of_mean * sum(sizes[i].steps for i in group)) ** 2
    found = [one for one in demands if one is not None]
    total = math.fsum(one.steps * one.width for one in found)
    cost, passes = PassCost.fitted(trial.passes), num_passes(found, budget)
    return Forecast(
        demands=tuple(found),
        passes=passes,
        seconds=cost.seconds(passes, found),
        error=math.sqrt(variance) / total if total else 0.0,
        cost=cost,
        nfe_per_pass=_nfe_per_pass(trial),
        unfinished=sum(own.nfe is None for own in trial.watched.values()),
    )


def _nfe_per_pass(trial: Trial) -> float:
    ended = [own for own in trial.watched.values() if own.nfe is not None]
    passes = sum(own.passes for own in ended)
    return sum(own.nfe or 0 for own in ended) / passes if passes else 1.0


def _computed_share(sizes: Sequence[Size], trial: Trial) -> float:
    """Tokens that passes computed, over those of the whole canvases: below 1 under a cache."""
    whole = sum(own.passes * sizes[i].tokens for i, own in trial.watched.items())
    return sum(one.tokens for one in trial.passes) / whole if whole else 1.0
