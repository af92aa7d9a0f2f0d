"""The question of likelihoods: how probable is this text after that context?"""

import abc
import dataclasses
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from ..decoding.likelihood.estimator import Estimate, Estimator, Masking
from ..decoding.logits import LogitRule
from ..decoding.proposal import RowKey
from .job import Job, Kind, Work
from .matching import greedy_match
from .plan import RowPlan
from .query import Query, Reading
from .readout import Readout
from .record import Score, Scores


@dataclass(frozen=True, kw_only=True)
class TextPlan:
    """Everything that determines the score of one text of L tokens."""

    text_ids: tuple[int, ...]
    """The text, L >= 1 tokens; no masks."""
    row: RowPlan
    """What the run's own sampler, at temperature 0, would be asked to fill: L masks after the context."""
    rule: LogitRule
    """Of estimates; the row has its own."""
    key: RowKey
    """Of random numbers."""
    end_token_id: int | None
    """That stands behind the text where an estimator wants one there; None if the checkpoint has none."""
    wants_greedy: bool = False
    """Whether it is asked if greedy decoding gives the text."""

    @property
    def nfe_per_pass(self) -> int:
        """What a pass costs."""
        return 2 if self.rule.guided else 1


class Scorer(abc.ABC):
    """A way to score texts; a frozen dataclass."""

    appends_end: bool = False
    """Whether an end-of-text token stands behind the text."""
    decodes: bool = False
    """Whether the sampler's plan is run, also where it is not asked if greedy decoding gives the text."""

    @abc.abstractmethod
    def score(self, plans: Sequence[TextPlan]) -> Generator[Sequence[Job], None, list[Score]]:
        """Score texts that belong together, such as the choices of a question; gives jobs as `Work` does."""


def scoring(scorer: Scorer, plans: Sequence[TextPlan]) -> Work[Scores]:
    """Score texts that belong together."""
    return Scores(tuple((yield from scorer.score(plans))))


class LogProbs(Kind):
    """Hands every job the log-probabilities that it has asked for."""

    def decide(self, jobs: Sequence["MaskedText"], reading: Reading, readout: Readout) -> list[NDArray[np.float32]]:
        return [reading.log_prob[reading.at(i)].copy() for i in range(len(jobs))]


LOG_PROBS = LogProbs()


class MaskedText(Job):
    """Passes of an estimate, one after the other; in each, some tokens are masked, and some of these are scored."""

    def __init__(
        self,
        plan: TextPlan,
        canvas: Int64[np.ndarray, " T"],
        maskings: Sequence[Masking],
        final_until: int | None = None,
    ) -> None:
        """The canvas, context and text with nothing masked, is shared by all passes.

        With `final_until`, what is before that position is computed in the first pass, and kept for the others.
        """
        self.kind = LOG_PROBS
        self.slots: list[Any] = []
        self.log_probs: list[NDArray[np.float32]] = []
        """Of the scored tokens of each pass so far, nats."""
        self._plan, self._canvas, self._maskings, self._final_until = plan, canvas, maskings, final_until

    @property
    def done(self) -> bool:
        """See `Job`."""
        return len(self.log_probs) == len(self._maskings)

    @property
    def is_partial(self) -> bool:
        """See `Job`."""
        return bool(self._final_until and self.log_probs)

    @property
    def tokens_of_next_pass(self) -> int:
        """See `Job`."""
        return (len(self._canvas) - self._first) * self._plan.nfe_per_pass

    @property
    def held_positions(self) -> int:
        """See `Job`."""
        return 0 if self._final_until is None else len(self._canvas) * self._plan.nfe_per_pass

    @property
    def _first(self) -> int:
        """Position from which on the next pass computes."""
        return (self._final_until or 0) if self.is_partial else 0

    def query(self) -> Query:
        """See `Job`."""
        plan, offset, masking = self._plan, len(self._plan.row.prompt_ids), self._maskings[len(self.log_probs)]
        canvas, wanted = self._canvas.copy(), offset + masking.scored
        canvas[offset + masking.masked] = plan.row.mask_token_id
        canvases = [canvas]
        if plan.rule.guided:
            unconditional = canvas.copy()
            unconditional[:offset] = plan.row.mask_token_id
            canvases.append(unconditional)
        computed = None if self._final_until is None else np.arange(self._first, len(canvas))
        return Query(
            canvases=canvases, wanted=wanted, rule=plan.rule, targets=self._canvas[wanted], recomputed=computed
        )

    def advance(self, change: NDArray[np.float32]) -> None:
        """See `Job`."""
        self.log_probs.append(change)
        if self.done:
            self.slots = []


class _Sampling:
    """The passes over one stretch of a text, with all before it in place and nothing behind it.

    They are one round, unless they may end early.
    """

    def __init__(
        self, plan: TextPlan, estimator: Estimator, number: int, stretch: tuple[int, int], *, may_end_early: bool
    ) -> None:
        """`stretch`, the text's number `number`, has the position of its first token, and the one behind its last."""
        self._estimator, (start, stop) = estimator, stretch
        self._plan, self._start, self._length = plan, start, stop - start
        is_last = stop == len(plan.text_ids)
        behind = (plan.end_token_id,) if is_last and estimator.appends_end and plan.end_token_id is not None else ()
        self._canvas = np.array([*plan.row.prompt_ids, *plan.text_ids[:stop], *behind], dtype=np.int64)
        self._maskings = estimator.maskings(self._length, plan.key.of_part(number))
        self._rounds = estimator.rounds(self._length) if may_end_early else [len(self._maskings)]
        self._num_done = 0
        self._jobs: list[MaskedText] = []

    @property
    def done(self) -> bool:
        """Whether all rounds have been given."""
        return self._num_done == self._rounds[-1]

    def next_round(self) -> list[MaskedText]:
        """The jobs of the next round; there may be none to run in it, and there are none after the last one."""
        start, self._num_done = self._num_done, next((n for n in self._rounds if n > self._num_done), self._num_done)
        asked = [m.moved(self._start) for m in self._to_run(self._maskings[start : self._num_done])]
        final_until = self._plan.row.final_before(self._start) if len(asked) > 1 else None
        # What all passes share is computed once where they follow each other; where nothing is shared, none waits.
        in_turn = [asked] if final_until else [[masking] for masking in asked]
        jobs = [MaskedText(self._plan, self._canvas, own, final_until or None) for own in in_turn]
        self._jobs += jobs
        return jobs

    def _to_run(self, maskings: Sequence[Masking]) -> list[Masking]:
        """A pass in which nothing is scored says nothing, and is not run."""
        return [m for m in maskings if len(m.scored)]

    def estimate(self) -> Estimate:
        """From the passes so far."""
        maskings, found = self._maskings[: self._num_done], iter([p for job in self._jobs for p in job.log_probs])
        nothing = np.empty(0, dtype=np.float32)
        return self._estimator.estimate(
            self._length, maskings, [next(found) if len(m.scored) else nothing for m in maskings]
        )

    @property
    def num_run(self) -> int:
        """Passes so far."""
        return len(self._to_run(self._maskings[: self._num_done]))

    @property
    def num_left(self) -> int:
        """Passes that have not been run."""
        return len(self._to_run(self._maskings)) - self.num_run


class _TextSampling:
    """The passes of one text's estimate, over the stretches that its network can be asked about one by one."""

    def __init__(self, plan: TextPlan, estimator: Estimator, *, may_end_early: bool) -> None:
        self.plan, self._may_end_early = plan, may_end_early
        self._parts = [
            _Sampling(plan, estimator, number, stretch, may_end_early=may_end_early)
            for number, stretch in enumerate(plan.row.blocks.stretches(len(plan.text_ids)))
        ]

    @property
    def done(self) -> bool:
        """Whether all rounds have been given."""
        return all(part.done for part in self._parts)

    def next_round(self) -> list[MaskedText]:
        """See `_Sampling`."""
        return [job for part in self._parts for job in part.next_round()]

    def estimate(self) -> Estimate:
        """From the passes so far, by the chain rule; stretches are sampled independently of each other."""
        parts = [part.estimate() for part in self._parts]
        if len(parts) == 1:
            return parts[0]
        return Estimate(math.fsum(part.value for part in parts), math.hypot(*(part.standard_error for part in parts)))

    def score(self) -> Score:
        """From the passes so far; greedy decoding is not part of it."""
        estimate, nfe_per_pass = self.estimate(), self.plan.nfe_per_pass
        left = sum(part.num_left for part in self._parts)
        return Score(
            log_prob=estimate.value,
            standard_error=estimate.standard_error if math.isfinite(estimate.standard_error) else None,
            nfe=sum(part.num_run for part in self._parts) * nfe_per_pass,
            nfe_saved=left * nfe_per_pass if self._may_end_early else None,
            truncated=self.plan.row.truncated,
        )


@dataclass(frozen=True)
class BySampling(Scorer):
    """Passes over the text with some of it masked, weighted by an estimator."""

    estimator: Estimator
    enough: float | None = None
    """Standard error, nats, that ends the sampling once no text of those that belong together has a larger one; None
    to take all samples."""

    @property
    def appends_end(self) -> bool:  # type: ignore[override]
        """See `Scorer`."""
        return self.estimator.appends_end

    def score(self, plans: Sequence[TextPlan]) -> Generator[Sequence[Job], None, list[Score]]:
        samplings = [_TextSampling(plan, self.estimator, may_end_early=self.enough is not None) for plan in plans]
        while not all(sampling.done for sampling in samplings):
            yield [job for sampling in samplings for job in sampling.next_round()]
            if self.enough is not None and all(s.estimate().standard_error <= self.enough for s in samplings):
                break
        scores = []
        for sampling in samplings:
            score = sampling.score()
            if sampling.plan.wants_greedy:
                greedy = yield from greedy_match(sampling.plan.row, sampling.plan.text_ids)
                score = dataclasses.replace(
                    score, is_greedy=greedy.matches, nfe=score.nfe + greedy.nfe, nfe_partial=greedy.nfe_partial
                )
            scores.append(score)
        return scores
