"""What is known of requests without a pass, and a choice of some that stand for all."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..backbones.backbone import Backbone
from ..engine.scoring import TextPlan
from .generation import RowRequest
from .pass_costs import Demand
from .question import Question
from .scoring import ScoreRequest


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


def _tokens(plan: TextPlan) -> int:
    return (len(plan.row.prompt_ids) + len(plan.text_ids)) * plan.nfe_per_pass
