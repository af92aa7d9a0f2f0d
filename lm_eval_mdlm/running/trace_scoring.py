"""Scores of reasoning traces: from token ids and checked options to plans of passes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backbones.backbone import Backbone
from ..canvas.template import Region
from ..decoding.likelihood.chain_rule import ChainRule
from ..decoding.likelihood.estimator import Estimator
from ..decoding.likelihood.one_pass import OnePass
from ..engine.job import Work
from ..engine.plan import RowPlan
from ..engine.scoring import TextPlan
from ..engine.trace_scoring import TracePlan, TraceScore, scoring_trace
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from .planning import Answer, answer_ids, plan_row
from .question import Question


LIKELIHOODS: Mapping[str, Estimator] = {"one_pass": OnePass(), "l2r": ChainRule()}
"""How the answer's tokens are taken together: as if independent, or by the chain rule from left to right."""
OPTIONS = ("template", "gen_length", "cfg_scale", "suppress_tokens", "max_length", "add_bos_token")
"""Of `DecodingConfig`, those that matter to a score; the sampler's do not."""


@dataclass(frozen=True, kw_only=True)
class TraceScoreRequest(Question):
    """A trace whose gold answer is scored after prefixes of its reasoning."""

    prompt_ids: Sequence[int]
    config: DecodingConfig
    """With a template of exactly one answer segment."""
    reasoning_ids: Sequence[int]
    """What stands at the reasoning positions of the region, from the first one on: all of them, fillings with
    end-of-text included, or fewer. A mask token there, which an early exit may have left, stays a mask."""
    answer: Answer
    """The gold answer, without what fills up its segment."""
    prefixes: Sequence[int] | None = None
    """How many of `reasoning_ids` stand there, from 0 to all, for each score; None for one score after all of them."""
    likelihood: str = "one_pass"
    """A name in `LIKELIHOODS`."""

    def plan(self, backbone: Backbone) -> TracePlan:
        """The same in every process; UsageError if the trace or its options do not fit the backbone."""
        row = plan_row(backbone, self.prompt_ids, _only_what_matters(self.config), answer=self.answer)
        reasoning = _positions(row.region, "reasoning")
        prefixes = (len(self.reasoning_ids),) if self.prefixes is None else tuple(self.prefixes)
        _check_prefixes(prefixes, self.reasoning_ids, len(reasoning), backbone)
        region = list(row.region.token_ids)
        for place, token in zip(reasoning, self.reasoning_ids, strict=False):
            region[place] = token
        answer = _positions(row.region, "answer")
        return TracePlan(
            text=TextPlan(text_ids=tuple(region), row=row, rule=row.logit_rule, key=row.key, end_token_id=None),
            reasoning=reasoning,
            answer=answer,
            num_scored=_num_scored(backbone, row, answer, len(answer_ids(backbone, self.answer))),
            prefixes=prefixes,
            estimator=LIKELIHOODS[self.likelihood],
        )

    def work(self, backbone: Backbone) -> Work[TraceScore]:
        return scoring_trace(self.plan(backbone))

    def content(self) -> Mapping[str, Any]:
        effective = self.config.effective()
        return {
            "prompt_ids": list(self.prompt_ids),
            "reasoning_ids": list(self.reasoning_ids),
            "answer": self.answer if isinstance(self.answer, str) else list(self.answer),
            "prefixes": None if self.prefixes is None else list(self.prefixes),
            "likelihood": self.likelihood,
            "options": {name: effective[name] for name in OPTIONS},
        }

    def restored(self, plain: Mapping[str, Any]) -> TraceScore:
        return TraceScore.from_plain(plain)


def _only_what_matters(config: DecodingConfig) -> DecodingConfig:
    """Without options of decoding, some of which cannot be beside a given answer."""
    return dataclasses.replace(DecodingConfig(), **{name: getattr(config, name) for name in OPTIONS})


def reasoning_of(region: Region, token_ids: Sequence[int]) -> list[int]:
    """What stands at the reasoning positions of a decoded region, for `TraceScoreRequest.reasoning_ids`.

    Args:
        region: Of the row's plan.
        token_ids: Of its generation: the whole region.
    """
    return [token_ids[i] for i in _positions(region, "reasoning")]


def _positions(region: Region, kind: str) -> tuple[int, ...]:
    """Of all segments of a kind, ascending."""
    return tuple(i for span in region.spans if span.kind == kind for i in range(span.start, span.stop))


def _check_prefixes(prefixes: Sequence[int], ids: Sequence[int], num_positions: int, backbone: Backbone) -> None:
    if len(ids) > num_positions:
        raise UsageError(
            f"a trace of {len(ids)} reasoning tokens does not fit the {num_positions} reasoning positions of its "
            f"template; use the template that it was made with."
        )
    outside = [token for token in ids if not 0 <= token < backbone.vocab_size]
    if outside:
        raise UsageError(f"reasoning token ids must be from 0 to {backbone.vocab_size - 1}, got {outside[0]}.")
    wrong = [number for number in prefixes if not 0 <= number <= len(ids)]
    if wrong or not prefixes:
        got = wrong[0] if wrong else "none"
        raise UsageError(f"prefixes of a trace must be from 0 to its {len(ids)} reasoning tokens, got {got}.")


def _num_scored(backbone: Backbone, row: RowPlan, answer: Sequence[int], num_tokens: int) -> int:
    """The answer's tokens, and the first end-of-text behind them if there is one that may be proposed.

    Raises:
        UsageError: If the answer has no tokens, or one that is never proposed.
    """
    if not num_tokens:
        raise UsageError("a gold answer to be scored must hold at least one token, got an empty one; leave it out.")
    forbidden = row.logit_rule.forbidden_ids
    for place in answer[:num_tokens]:
        if (token := row.region.token_ids[place]) in forbidden:
            raise UsageError(
                f"suppress_tokens holds the token {token} of the gold answer, which then has probability 0; leave "
                f"suppress_tokens out."
            )
    has_end = num_tokens < len(answer) and backbone.end_token_ids[0] not in forbidden
    return num_tokens + has_end
