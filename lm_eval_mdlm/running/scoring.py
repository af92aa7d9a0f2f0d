"""Log-likelihoods of texts: from token ids and checked options to plans of passes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backbones.backbone import Backbone
from ..decoding.logits import LogitRule
from ..decoding.proposal import RowKey
from ..engine.job import Work
from ..engine.record import Score, Scores
from ..engine.scoring import Scorer, TextPlan, scoring
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from ..options.likelihood import LikelihoodConfig
from ..options.samplers import SAMPLERS
from .planning import longest_canvas, plan_row
from .question import Origin, Question


OF_EVERY_ESTIMATE = ("seed", "cfg_scale", "max_length")
"""Decoding options on which a score depends where nothing is decoded."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text to be scored."""

    context_ids: Sequence[int]
    """At least one token, unless the network puts some before every canvas."""
    text_ids: Sequence[int]
    """At least one token."""
    wants_greedy: bool = False
    """Whether it is asked if greedy decoding gives the text."""


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Question):
    """Texts that are scored together: one, or under `mc_se` all choices of a document."""

    texts: Sequence[Text]
    config: DecodingConfig
    likelihood: LikelihoodConfig
    origin: Origin | None = None

    def plan(self, backbone: Backbone) -> tuple[Scorer, list[TextPlan]]:
        """The same in every process; UsageError if options or texts do not fit the backbone."""
        scorer = self.likelihood.scorer(self.config)
        return scorer, [_plan_text(backbone, text, self.config, scorer) for text in self.texts]

    @property
    def is_cached(self) -> bool:
        return self.config.keeps

    def work(self, backbone: Backbone) -> Work[Scores]:
        return scoring(*self.plan(backbone))

    def failed(self, backbone: Backbone, nfe: int) -> Scores:
        """No text has a score, as they are scored together; the first one has all passes."""
        _, plans = self.plan(backbone)
        return Scores(
            tuple(
                Score(log_prob=math.nan, standard_error=None, nfe=0 if i else nfe, truncated=plan.row.truncated)
                for i, plan in enumerate(plans)
            )
        )

    def content(self) -> Mapping[str, Any]:
        texts = [[list(t.context_ids), list(t.text_ids), t.wants_greedy] for t in self.texts]
        options = self.config.effective()
        if not (self.likelihood.scorer(self.config).decodes or any(text.wants_greedy for text in self.texts)):
            options = {name: options[name] for name in OF_EVERY_ESTIMATE}
        return {"texts": texts, "options": options, **self.likelihood.effective()}

    def restored(self, plain: Mapping[str, Any]) -> Scores:
        return Scores.from_plain(plain)


def _without_sampler(config: DecodingConfig) -> DecodingConfig:
    own = {name for sampler in SAMPLERS.values() for name in sampler.options}
    plain, over_all = DecodingConfig(), ("sampler", "block_length", "min_distance", "defer_end_of_text")
    return dataclasses.replace(config, **{name: getattr(plain, name) for name in (*own, *over_all)})


def _plan_text(backbone: Backbone, text: Text, config: DecodingConfig, scorer: Scorer) -> TextPlan:
    """The plan of one text.

    Raises:
        UsageError: If context or text is empty, the text leaves no room for a context, or the sampler's options do
            not fit its length.
    """
    length = len(text.text_ids)
    if not length:
        raise UsageError("a text to be scored must hold at least one token, got an empty one; leave it out.")
    if (mask := backbone.mask_token_id) in text.text_ids:
        raise UsageError(f"a text to be scored must not hold the mask token {mask}; take it out.")
    outside = [token for token in text.text_ids if not 0 <= token < backbone.vocab_size]
    if outside:
        raise UsageError(f"token ids must be from 0 to {backbone.vocab_size - 1}, got {outside[0]}.")
    if scorer.appends_end and not backbone.end_token_ids:
        raise UsageError("likelihood=dream needs an end-of-text token, and the checkpoint has none; choose another.")
    longest = longest_canvas(backbone, config) - int(scorer.appends_end)
    if length >= longest:
        raise UsageError(
            f"a text of {length} tokens leaves no room for a context in max_length={longest}; score shorter texts, or "
            f"raise max_length up to the checkpoint's {backbone.max_length}."
        )
    # A sampler that does not fit this text or backbone must not refuse an estimate that does not run it.
    decodes = scorer.decodes or text.wants_greedy
    # What a sampler would fill: as long as the text, by no template, at temperature 0, and to its end.
    filling = dataclasses.replace(
        config if decodes else _without_sampler(config),
        gen_length=length,
        max_length=longest,
        template=None,
        exit_rule=None,
        exit_threshold=None,
        max_nfe=None,
        gold_score=False,
        stop_when_settled=False,
        temperature=0.0,
        until=(),
        think_end_token=None,
    )
    seed = config.seed or 0
    return TextPlan(
        text_ids=tuple(text.text_ids),
        row=plan_row(backbone, text.context_ids, filling),
        rule=LogitRule((), config.cfg_scale),
        key=RowKey.of(seed, text.context_ids, text.text_ids, 0),
        end_token_id=next(iter(backbone.end_token_ids), None),
        wants_greedy=text.wants_greedy,
    )
