"""A text's log-probability along the path on which the run's own sampler would have met it.

In each pass the sampler picks positions; the log-probabilities of the given tokens there are added, and these tokens
are committed. For a sampler whose choice depends on distributions alone the texts' probabilities add up to 1. Source:
arXiv:2603.01367.
"""

import dataclasses
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from .change import Change
from .choosing import choose
from .job import Job, Kind
from .plan import RowPlan
from .query import Query, Reading
from .readout import Readout
from .record import Score
from .row import Row
from .scoring import Scorer, TextPlan


@dataclass(frozen=True, eq=False)
class FollowedChange:
    """What a pass does to a row that follows a text."""

    committed: Change
    log_probs: list[float]
    """Of the committed tokens, nats."""
    proposed: bool
    """Whether they are also the most likely ones."""


class Following(Kind):
    """Commits the given tokens where each row's policy picks."""

    def decide(self, jobs: Sequence["FollowingRow"], reading: Reading, readout: Readout) -> list[FollowedChange]:
        changes = []
        for i, (row, choice) in enumerate(zip(jobs, choose(jobs, reading, readout), strict=True)):
            at = reading.at(i)
            picked = choice.commit.nonzero()[0]
            positions = row.wanted[picked]
            tokens = row.given[positions]
            changes.append(
                FollowedChange(
                    Change(positions, tokens, memory=choice.memory, kept=choice.kept),
                    reading.log_prob[at][picked].tolist(),
                    bool((reading.argmax[at][picked] == tokens).all()),
                )
            )
        return changes


FOLLOWING = Following()


class FollowingRow(Row):
    """A row that takes the tokens of a given text, one for each of its masks."""

    def __init__(self, plan: RowPlan, given: Sequence[int]) -> None:
        self.given = np.array(given, dtype=np.int64)
        self.log_probs: list[float] = []
        self.is_greedy = True
        """Whether greedy decoding would have gone the same way so far."""
        super().__init__(plan, FOLLOWING)

    def query(self) -> Query:
        """See `Job`."""
        return dataclasses.replace(super().query(), targets=self.given[self.wanted])

    def advance(self, change: FollowedChange) -> None:  # type: ignore[override]
        """See `Job`."""
        self.log_probs += change.log_probs
        self.is_greedy &= change.proposed
        super().advance(change.committed)


@dataclass(frozen=True)
class AlongPath(Scorer):
    """Exact, in as many passes as the sampler needs; whether the text is the greedy one costs no further pass."""

    decodes = True

    def score(self, plans: Sequence[TextPlan]) -> Generator[Sequence[Job], None, list[Score]]:
        rows = [FollowingRow(plan.row, plan.text_ids) for plan in plans]
        yield rows
        return [
            Score(
                log_prob=math.fsum(row.log_probs),
                standard_error=0.0,
                is_greedy=plan.wants_greedy and row.is_greedy,
                nfe=row.steps * plan.row.nfe_per_step,
                nfe_partial=row.partial_steps * plan.row.nfe_per_step,
                truncated=plan.row.truncated,
            )
            for plan, row in zip(plans, rows, strict=True)
        ]
