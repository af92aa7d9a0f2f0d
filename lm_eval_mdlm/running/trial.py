"""A few requests answered under a clock, and from them what many would take."""

import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..backbones.backbone import Backbone
from ..engine.job import Job, Work
from ..engine.loop import answer
from ..engine.readout import Readout
from ..engine.row import Row
from ..engine.schedule import Budget, tokens_of
from ..engine.scoring import TextPlan
from .generation import RowRequest
from .pass_costs import Demand, Pass, PassCost, num_passes
from .question import Question
from .scoring import ScoreRequest


LEAST_PASSES = 3
"""That are measured however little time there is, one that may be the first of its shape among them."""


@dataclass(frozen=True)
class Size:
    """What is known of a request without a pass."""

    steps: int
    """Its masks, or the passes that its estimate plans; what it takes is in proportion."""
    parallel: bool
    """Whether its passes do not wait for each other."""
    tokens: int
    """Of the canvases of a pass, at most."""
    held: int
    truncated: bool

    def demand(self, ratio: float, computed: float) -> Demand:
        """If it takes `ratio` passes for each step, and a pass computes this share of its canvases."""
        steps = self.steps * ratio
        shape = {"steps": 1.0, "width": steps} if self.parallel else {"steps": steps}
        return Demand(**shape, tokens=self.tokens * computed, held=self.held)


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


class Sizes:
    """Sizes of requests, those of likelihoods looked up by the lengths of their texts."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._planned: dict[tuple[int, ...], int] = {}

    def of(self, question: Question) -> Size:
        """UsageError if the options do not fit the backbone."""
        if isinstance(question, RowRequest):
            plan = question.plan(self._backbone)
            masks = plan.region.token_ids.count(plan.mask_token_id)
            return Size(masks, False, plan.tokens_per_pass, plan.held_positions, plan.truncated)
        assert isinstance(question, ScoreRequest)
        scorer, plans = question.plan(self._backbone)
        lengths = [len(plan.text_ids) for plan in plans]
        truncated = any(plan.row.truncated for plan in plans)
        if scorer.decodes:
            return Size(sum(lengths), False, max(map(_tokens, plans)), 0, truncated)
        planned = self._passes_planned(question, lengths)
        return Size(planned, True, math.ceil(statistics.fmean(map(_tokens, plans))), 0, truncated)

    def _passes_planned(self, question: Question, lengths: Sequence[int]) -> int:
        """Jobs of the first round, which is all of them unless the sampling may end early."""
        key = tuple(sorted(lengths))
        if key not in self._planned:
            self._planned[key] = len(next(question.work(self._backbone)))
        return self._planned[key]


def spread(sizes: Sequence[Size], number: int) -> list[int]:
    """Numbers of some requests whose canvases are spread as those of all are, in an order that may end anywhere."""
    by_tokens = sorted(range(len(sizes)), key=lambda i: (sizes[i].tokens, i))
    number = min(number, len(sizes))
    chosen = [by_tokens[int((place + 0.5) * len(sizes) / number)] for place in range(number)]
    random.Random(0).shuffle(chosen)
    return chosen


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
    try:
        for number, record in answer(readout, queue, budget, watch):
            finished[number] = record.nfe
    except _TimeIsUp:
        pass
    watch.close()
    watched = {}
    for number, passes in watch.counts.items():
        share = 1.0 if number in finished else _share(questions[number], watch.last[number])
        watched[number] = Watched(passes, finished.get(number), share)
    return Trial(passes=tuple(watch.passes), watched=watched, seconds=clock() - watch.started)


def _share(question: Question, job: Job) -> float:
    if not isinstance(question, RowRequest) or not isinstance(job, Row) or not job.num_masks:
        return 0.0  # what is left of an estimate cannot be told from its jobs
    return 1 - job.region_ids.count(job.plan.mask_token_id) / job.num_masks


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


def _tokens(plan: TextPlan) -> int:
    return (len(plan.row.prompt_ids) + len(plan.text_ids)) * plan.nfe_per_pass
