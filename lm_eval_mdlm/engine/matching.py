"""Whether greedy decoding, by the run's own sampler, gives a certain text."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from .change import Change
from .decode import FILLING
from .job import Job
from .plan import RowPlan
from .row import Row


@dataclass(frozen=True)
class Match:
    """The outcome."""

    matches: bool
    nfe: int
    """Passes that it took; decoding ends with the first token that differs."""
    nfe_partial: int
    """Of these, passes that recomputed only part of the canvas."""


class MatchedRow(Row):
    """A row that is given up as soon as one of its tokens is not the expected one."""

    def __init__(self, plan: RowPlan, expected: Sequence[int]) -> None:
        self._expected = np.array(expected, dtype=np.int64)
        self.differs = False
        super().__init__(plan, FILLING)

    @property
    def done(self) -> bool:
        """See `Job`."""
        return self.differs or super().done

    def advance(self, change: Change) -> None:
        """See `Job`."""
        super().advance(change)
        if self.plan.policy.revises:  # a token that differs may still be replaced
            self.differs = self.complete and self.region_ids != self._expected.tolist()
        else:
            self.differs = bool((change.tokens != self._expected[change.positions]).any())


def greedy_match(plan: RowPlan, expected: Sequence[int]) -> Generator[Sequence[Job], None, Match]:
    """Decode a plan of as many masks as there are expected tokens, at temperature 0; gives jobs as `Work` does."""
    row = MatchedRow(plan, expected)
    yield [row]
    return Match(not row.differs, row.steps * plan.nfe_per_step, row.partial_steps * plan.nfe_per_step)
