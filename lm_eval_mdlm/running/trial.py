"""A few requests answered under a clock."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..backbones.backbone import Backbone
from ..engine.job import Job, Work
from ..engine.loop import answer
from ..engine.not_finite import Failed
from ..engine.readout import Readout
from ..engine.row import Row
from ..engine.schedule import Budget, tokens_of
from .generation import RowRequest
from .pass_costs import Pass
from .question import Question
from .sizes import Size


LEAST_PASSES = 3
"""That are measured however little time there is, one that may be the first of its shape among them."""


@dataclass(frozen=True)
class Watched:
    """What became of one request of a trial."""

    passes: int
    """That its jobs took part in."""
    nfe: int | None
    """Of its record; None if the time was up before it was finished."""
    share: float
    """Of its masks that were filled; 1 if it is finished."""

    def per_size(self, size: Size) -> float | None:
        """Passes for each step of its size; None if it has not come far enough to say."""
        if not size.steps or not self.share or not self.passes:
            return None
        return self.passes / self.share / size.steps


@dataclass(frozen=True)
class Trial:
    """A run over some requests."""

    passes: tuple[Pass, ...]
    watched: dict[int, Watched]
    """By the number of the request; those that had begun."""
    seconds: float
    num_failed: int = 0
    """Requests for which the network returned no numbers; they count as not finished."""


class _TimeIsUp(Exception):
    pass


@dataclass
class _Watch:
    """Looks on while requests are answered."""

    clock: Callable[[], float]
    most_seconds: float
    most_passes: int | None
    passes: list[Pass] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    """Of passes, by request."""
    last: dict[int, Job] = field(default_factory=dict)
    """Job of each request."""
    _owner: dict[int, int] = field(default_factory=dict)
    _kept: list[Job] = field(default_factory=list)
    """Jobs are known by identity, so they are kept alive."""
    _open: tuple[int, int, float] | None = None

    def __post_init__(self) -> None:
        self.started = self.clock()

    def work(self, number: int, work: Work[Any]) -> Work[Any]:
        """The same work, its jobs noted."""
        while True:
            try:
                jobs = next(work)
            except StopIteration as end:
                return end.value
            for job in jobs:
                self._owner[id(job)] = number
                self._kept.append(job)
                self.last[number] = job
            yield jobs

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Ahead of a pass."""
        self.close()
        enough = self.most_passes is not None and len(self.passes) >= self.most_passes
        late = self.clock() - self.started > self.most_seconds and len(self.passes) >= LEAST_PASSES
        if enough or late:
            raise _TimeIsUp
        self.counts.update(self._owner[id(job)] for job in jobs)
        self._open = (len(jobs), tokens_of(jobs), self.clock())

    def close(self) -> None:
        """The pass under way has ended."""
        if self._open is not None:
            jobs, tokens, began = self._open
            self.passes.append(Pass(jobs, tokens, self.clock() - began))
        self._open = None


def tried(
    backbone: Backbone,
    questions: dict[int, Question],
    budget: Budget,
    *,
    most_seconds: float,
    most_passes: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Trial:
    """Answer requests until all are done, or the time is up.

    Args:
        backbone: Loaded.
        questions: By number, in the order in which they are admitted.
        budget: Limits of a pass, as in the run that is to be foreseen.
        most_seconds: After which no further pass is begun.
        most_passes: After which none is begun either; None for any number.
        clock: Gives seconds.

    Raises:
        UsageError: As an evaluation would.
    """
    readout = Readout(backbone)
    watch = _Watch(clock, most_seconds, most_passes)
    queue = ((number, watch.work(number, question.work(backbone))) for number, question in questions.items())
    finished: dict[int, int] = {}
    num_failed = 0
    try:
        for number, record in answer(readout, queue, budget, watch):
            if isinstance(record, Failed):
                num_failed += 1
            else:
                finished[number] = record.nfe
    except _TimeIsUp:
        pass
    watch.close()
    watched = {}
    for number, passes in watch.counts.items():
        share = 1.0 if number in finished else _share(questions[number], watch.last[number])
        watched[number] = Watched(passes, finished.get(number), share)
    return Trial(passes=tuple(watch.passes), watched=watched, seconds=clock() - watch.started, num_failed=num_failed)


def _share(question: Question, job: Job) -> float:
    if not isinstance(question, RowRequest) or not isinstance(job, Row) or not job.standing.num_masks:
        return 0.0  # what is left of an estimate cannot be told from its jobs
    return 1 - job.region_ids.count(job.plan.mask_token_id) / job.standing.num_masks
