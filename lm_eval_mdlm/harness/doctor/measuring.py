"""Lines on time and memory that a run will take, from some of its requests."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...engine.schedule import Budget
from ...running.forecast import Forecast, forecast
from ...running.memory_use import all_bytes, peak_bytes, reset_peak
from ...running.pass_costs import fullest_pass
from ...running.sizes import Size, spread
from ...running.trial import Trial, tried
from ..model import MDLM
from .asking import Asked
from .estimate import TaskEstimate, duration
from .findings import Findings


LEAST_TRIED = 24
"""Requests of one type that are tried, if there are as many."""
TIMES_TOGETHER = 3
"""As many times the jobs of a pass are tried, so that places are filled again as in the run."""
WARM_UP_PASSES = 4
"""That are not measured: memory is allocated and kernels are built in them."""
NAMES = {"generate_until": "texts", "loglikelihood": "likelihoods", "loglikelihood_rolling": "rolling likelihoods"}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """All requests of one type, of all tasks: a run answers them together."""

    name: str
    asked: Sequence[Asked]
    sizes: Sequence[Size]
    """Of all requests, task after task."""

    @property
    def groups(self) -> list[range]:
        """Numbers of each task's requests."""
        ends = [0, *itertools.accumulate(len(one.questions) for one in self.asked)]
        return [range(start, stop) for start, stop in itertools.pairwise(ends)]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One type of requests."""

    kind: Kind
    trial: Trial
    found: Forecast

    def seconds_of(self, group: Sequence[int]) -> float:
        """A task's part of the time, by the tokens that it has computed."""
        own, all_of_them = (self._tokens(numbers) for numbers in (group, range(len(self.found.demands))))
        return self.found.seconds * own / all_of_them if all_of_them else 0.0

    def nfe_of(self, group: Sequence[int]) -> float:
        """Forward passes of a task, guidance counting 2."""
        demands = [self.found.demands[i] for i in group]
        return math.fsum(one.steps * one.width for one in demands) * self.found.nfe_per_pass

    def _tokens(self, numbers: Sequence[int]) -> float:
        demands = [self.found.demands[i] for i in numbers]
        return math.fsum(one.steps * one.width * one.tokens for one in demands)


@dataclass(kw_only=True)
class Bill:
    """What all types of requests take together."""

    tasks: dict[str, TaskEstimate] = field(default_factory=dict)
    seconds: float = 0.0
    variance: float = 0.0
    """Of `seconds`."""
    passes: int = 0
    peak: int = 0
    """Bytes."""

    @property
    def relative_error(self) -> float:
        """Of `seconds`."""
        return math.sqrt(self.variance) / self.seconds if self.seconds else 0.0

    def add(self, measured: Measured) -> None:
        """One type of requests."""
        self.seconds += measured.found.seconds
        self.variance += (measured.found.seconds * measured.found.error) ** 2
        self.passes += measured.found.passes
        for asked, group in zip(measured.kind.asked, measured.kind.groups, strict=True):
            before = self.tasks.get(asked.name)
            nfe = measured.nfe_of(group) / max(asked.documents, 1)
            self.tasks[asked.name] = TaskEstimate(
                documents=asked.documents,
                requests=len(asked.questions) + (before.requests if before else 0),
                nfe=nfe + (before.nfe if before else 0.0),
                seconds=measured.seconds_of(group) + (before.seconds if before else 0.0),
                options=asked.options,
            )


@dataclass(frozen=True, kw_only=True)
class Trying:
    """How requests are tried."""

    number: int | None
    """Of each type; None for as many as seem enough."""
    most_seconds: float
    """For each type."""
    clock: Callable[[], float]


def measured(findings: Findings, model: MDLM, kinds: Sequence[Kind], trying: Trying) -> Bill:
    """Try some requests of every type, say what all take.

    Args:
        findings: Takes the lines.
        model: Loaded.
        kinds: With at least one request each.
        trying: How many, and for how long.

    Raises:
        UsageError: If answering fails as it would in a run.
    """
    bill = Bill()
    device = model.backbone.device
    reset_peak(device)
    for kind in kinds:
        one = _measure(model, kind, trying)
        bill.add(one)
        _tell(findings, one)
        # Bytes of a pass's tokens beyond those of the passes that were run.
        seen = max((own.tokens for own in one.trial.passes), default=0)
        more = max(0.0, fullest_pass(one.found.demands, model.budget) - seen) * model.backbone.bytes_per_token
        bill.peak = max(bill.peak, peak_bytes(device) + int(more))
    _tell_memory(findings, bill.peak, all_bytes(device))
    return bill


def _measure(model: MDLM, kind: Kind, trying: Trying) -> Measured:
    questions = [question for one in kind.asked for question in one.questions]
    wanted = trying.number or max(LEAST_TRIED, TIMES_TOGETHER * _jobs_of_a_pass(kind.sizes, model.budget))
    chosen: list[int] = []
    for group in kind.groups:
        share = max(2, math.ceil(wanted * len(group) / len(questions))) if len(group) else 0
        chosen += [group[place] for place in spread([kind.sizes[i] for i in group], share)]
    some = {i: questions[i] for i in chosen}
    answered = functools.partial(
        tried, model.backbone, some, model.budget, most_seconds=trying.most_seconds, clock=trying.clock
    )
    answered(most_passes=WARM_UP_PASSES)
    trial = answered()
    return Measured(kind=kind, trial=trial, found=forecast(kind.sizes, kind.groups, trial, model.budget))


def _jobs_of_a_pass(sizes: Sequence[Size], budget: Budget) -> int:
    """Requests that keep a pass full."""
    if sizes[0].parallel:
        return 1
    mean = sum(size.tokens for size in sizes) / len(sizes)
    by_tokens = None if budget.max_tokens is None else max(1, int(budget.max_tokens // max(mean, 1)))
    return min(limit for limit in (budget.max_rows, by_tokens, len(sizes)) if limit is not None)


def _tell(findings: Findings, measured: Measured) -> None:
    kind, trial, found = measured.kind, measured.trial, measured.found
    steps = sum(own.seconds for own in trial.passes) / max(len(trial.passes), 1)
    tokens = sum(own.tokens for own in trial.passes) / max(len(trial.passes), 1)
    findings.ok(
        f"{NAMES.get(kind.name, kind.name)}: tried {len(trial.watched)} of {len(kind.sizes)} requests in "
        f"{duration(trial.seconds)}; a pass has {tokens:.0f} tokens and takes {1000 * steps:.1f} ms"
    )
    if trial.num_failed:
        findings.fail(
            f"the network returned no numbers for {trial.num_failed} of them: a run goes on without such rows, and its "
            f"exit code says so; use dtype=bfloat16 or float32, and check the checkpoint."
        )
    if (late := found.unfinished - trial.num_failed) > 0:
        findings.warn(
            f"the time for trying was up before {late} of them had ended: their passes are taken from the "
            f"masks filled so far, and early ends are not foreseen; --seconds gives more"
        )
    for asked, group in zip(kind.asked, kind.groups, strict=True):
        findings.ok(
            f"{asked.name}: {asked.documents} documents, nfe {measured.nfe_of(group) / max(asked.documents, 1):.1f} "
            f"each, about {duration(measured.seconds_of(group))}"
        )


def _tell_memory(findings: Findings, peak: int, there: int | None) -> None:
    gb = f"{peak / 2**30:.2f} GB"
    if there is None:
        findings.ok(f"memory: about {gb} resident at the peak, with everything loaded")
    else:
        fits = peak < there
        then = "" if fits else ", more than there is: passes will be made smaller"
        findings.mark(fits, f"memory: about {gb} at the peak, of {there / 2**30:.1f} GB{then}")


def kinds_of(asked: Sequence[Asked], sizes: Mapping[int, Sequence[Size]]) -> list[Kind]:
    """By type of request, in the order of the tasks.

    Args:
        asked: Of all tasks.
        sizes: Of the requests of each of them, by its place.
    """
    names: dict[str, list[int]] = {}
    for place, one in enumerate(asked):
        if one.questions:
            names.setdefault(one.kind, []).append(place)
    return [
        Kind(
            name=name,
            asked=[asked[place] for place in places],
            sizes=[size for place in places for size in sizes[place]],
        )
        for name, places in names.items()
    ]
