"""What many passes cost, from a few that were measured: arithmetic without a network or a clock."""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.schedule import Budget


MOST_JOBS = 1024
"""Of a pass, where nothing but its tokens is limited: more never fit."""


@dataclass(frozen=True)
class Pass:
    """One forward pass that was measured, from its beginning to the beginning of the next."""

    jobs: int
    tokens: int
    """That it computed."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one request asks of the network."""

    steps: float
    """Passes one after the other; whole in the end, but a mean as a forecast."""
    tokens: float
    """That each of them computes for one job."""
    width: float = 1
    """Jobs side by side, each of so many steps."""
    held: int = 0
    """Positions that a job keeps between its passes."""


@dataclass(frozen=True, kw_only=True)
class PassCost:
    """Seconds of a pass, as a linear function of what it holds; no term is negative."""

    per_pass: float
    per_job: float
    per_token: float

    @classmethod
    def fitted(cls, passes: Sequence[Pass]) -> "PassCost":
        """By least squares, then scaled so that it gives the measured passes their time all together.

        The first pass of a shape that comes again is left out, since kernels are built and passes are recorded in it.
        Without any pass nothing costs anything.
        """
        kept = _warm(passes)
        if not kept:
            return cls(per_pass=0.0, per_job=0.0, per_token=0.0)
        columns = np.array([[1.0, one.jobs, one.tokens] for one in kept])
        seconds = np.array([one.seconds for one in kept])
        terms = _not_negative(columns, seconds)
        scale = seconds.sum() / max(float((columns @ terms).sum()), 1e-12)
        per_pass, per_job, per_token = (float(term * scale) for term in terms)
        return cls(per_pass=per_pass, per_job=per_job, per_token=per_token)

    def seconds(self, num_passes: float, demands: Sequence[Demand]) -> float:
        """Of so many passes that together satisfy these demands."""
        jobs = math.fsum(one.steps * one.width for one in demands)
        tokens = math.fsum(one.steps * one.width * one.tokens for one in demands)
        return self.per_pass * num_passes + self.per_job * jobs + self.per_token * tokens


def num_passes(demands: Sequence[Demand], budget: Budget) -> int:
    """Passes of a run that admits its requests in this order and fills places as they become free."""
    if all(one.steps <= 1 for one in demands):
        return math.ceil(math.fsum(one.steps * one.width / _jobs_together(one, budget) for one in demands) - 1e-9)
    live: list[tuple[int, float, int]] = []  # of jobs: the pass after which they are done, tokens, held positions
    now, tokens, held = 0, 0.0, 0
    for one in demands:
        for _ in range(round(one.width) if one.steps > 0 else 0):
            while live and not _admits(budget, len(live), tokens + one.tokens, held + one.held):
                now, freed, given_back = heapq.heappop(live)
                tokens, held = tokens - freed, held - given_back
            heapq.heappush(live, (now + max(1, round(one.steps)), one.tokens, one.held))
            tokens, held = tokens + one.tokens, held + one.held
    return max((end for end, *_ in live), default=now)


def fullest_pass(demands: Sequence[Demand], budget: Budget) -> float:
    """Most tokens that a pass of the run can have."""
    left, together = budget.max_rows or MOST_JOBS, 0.0
    longest_first = sorted(demands, key=lambda one: one.tokens, reverse=True)
    for one in longest_first:
        jobs = min(math.ceil(one.width), left)
        left, together = left - jobs, together + jobs * one.tokens
        if not left:
            break
    if budget.max_tokens is None or not demands:
        return together
    return max(min(together, budget.max_tokens), longest_first[0].tokens)


def _warm(passes: Sequence[Pass]) -> list[Pass]:
    left = Counter((one.jobs, one.tokens) for one in passes)
    again = {shape for shape, number in left.items() if number > 1}
    kept = []
    for one in passes:
        shape = (one.jobs, one.tokens)
        if shape in again:
            again.remove(shape)
        else:
            kept.append(one)
    return kept


def _not_negative(columns: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", seconds: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Least squares whose terms are at least 0: those that come out negative are left out, the largest first."""
    terms = np.zeros(columns.shape[1])
    own = list(range(columns.shape[1]))
    scales = np.abs(columns).max(axis=0)
    while own:
        found = np.linalg.lstsq(columns[:, own] / scales[own], seconds, rcond=None)[0]
        if (found >= 0).all():
            terms[own] = found / scales[own]
            break
        del own[int(found.argmin())]
    return terms


def _jobs_together(one: Demand, budget: Budget) -> float:
    by_tokens = None if budget.max_tokens is None else budget.max_tokens // max(one.tokens, 1.0)
    return max(1.0, min((limit for limit in (budget.max_rows, by_tokens) if limit is not None), default=math.inf))


def _admits(budget: Budget, num_live: int, tokens: float, held: int) -> bool:
    return (
        (budget.max_rows is None or num_live < budget.max_rows)
        and (budget.max_tokens is None or tokens <= budget.max_tokens)
        and (budget.max_held is None or held <= budget.max_held)
    )
