"""The question of trace scores: how probable is the answer once part of the reasoning stands there?

Source: Horvitz et al. 2025, arXiv:2510.19990, which scores reasoning by the log-probability of the known answer.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..decoding.likelihood.estimator import Estimator, Masking
from .job import Work
from .scoring import MaskedText, TextPlan


@dataclass(frozen=True, kw_only=True)
class TracePlan:
    """Everything that determines the scores of one trace."""

    text: TextPlan
    """The region of R tokens after its prompt, with reasoning and gold answer in place; positions of the reasoning that
    the trace does not reach hold masks."""
    reasoning: tuple[int, ...]
    """Positions in the region that reasoning may fill, ascending."""
    answer: tuple[int, ...]
    """Positions of the whole answer segment, ascending and without gaps: hidden in every pass."""
    num_scored: int
    """Of these the first so many are scored, at least 1."""
    prefixes: tuple[int, ...]
    """For each score, how many reasoning positions stand there."""
    estimator: Estimator
    """Of the probability of the scored positions, given all that is not hidden."""


@dataclass(frozen=True, kw_only=True)
class TraceScore:
    """How probable the gold answer is after each prefix of the reasoning."""

    prefix_tokens: tuple[int, ...]
    """Reasoning positions of each prefix, in the order asked for."""
    log_probs: tuple[float, ...]
    """Of the gold answer after each prefix, nats."""
    nfe: int
    """Forward passes for all prefixes; guidance counts 2."""
    truncated: bool = False
    """Whether the prompt was cut to fit."""

    @property
    def tokens(self) -> int:
        """None are written."""
        return 0

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        lists = {"prefix_tokens": list(self.prefix_tokens), "log_probs": list(self.log_probs)}
        return {**dataclasses.asdict(self), **lists}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "TraceScore":
        """The inverse of `to_plain`."""
        tuples = {name: tuple(plain[name]) for name in ("prefix_tokens", "log_probs")}
        return cls(**{**plain, **tuples})


def scoring_trace(plan: TracePlan) -> Work[TraceScore]:
    """Score the answer of one trace after all prefixes, whose passes need not wait for each other."""
    own = plan.estimator.maskings(plan.num_scored, plan.text.key)
    canvas = np.array([*plan.text.row.prompt_ids, *plan.text.text_ids], dtype=np.int64)
    hidden = [[_of_region(plan, prefix, one) for one in own] for prefix in plan.prefixes]
    passes = [[MaskedText(plan.text, canvas, [masking]) for masking in maskings] for maskings in hidden]
    jobs = [job for jobs in passes for job in jobs]
    yield jobs
    return TraceScore(
        prefix_tokens=plan.prefixes,
        log_probs=tuple(_log_prob(plan, own, jobs) for jobs in passes),
        nfe=len(jobs) * plan.text.nfe_per_pass,
        truncated=plan.text.row.truncated,
    )


def _of_region(plan: TracePlan, prefix: int, one: Masking) -> Masking:
    """A pass over the scored positions as a pass over the region, of whose reasoning a prefix is seen."""
    answer = np.array(plan.answer, dtype=np.int64)
    behind = answer[plan.num_scored :]
    hidden = [np.array(plan.reasoning[prefix:], dtype=np.int64), answer[one.masked], behind]
    return Masking(np.sort(np.concatenate(hidden)), answer[one.scored], one.weight)


def _log_prob(plan: TracePlan, own: Sequence[Masking], jobs: Sequence[MaskedText]) -> float:
    found = [log_probs for job in jobs for log_probs in job.log_probs]
    return plan.estimator.estimate(plan.num_scored, own, found).value
