"""Questions about recorded rows: from token ids and checked options to plans."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backbones.backbone import Backbone
from ..decoding.logits import LogitRule
from ..decoding.proposal import RowKey
from ..engine.chains import Chains, ChainsPlan, chaining
from ..engine.foresight import Foresight, foreseeing
from ..engine.job import Work
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from ..options.exits import EXIT_RULES
from ..recordings.steps import Steps
from .planning import forbidden_ids, plan_row
from .question import Question


OF_DISTRIBUTIONS = ("cfg_scale", "suppress_tokens")
"""The decoding options that chains depend on."""


@dataclass(frozen=True, kw_only=True)
class ChainsRequest(Question):
    """Masks of one canvas whose joint probability is asked for."""

    canvas: Sequence[int]
    """Prompt and region as a pass saw them."""
    prompt_length: int
    positions: Sequence[int]
    """In the canvas, masks there, in the order of the chain."""
    config: DecodingConfig
    num_samples: int
    given: Sequence[int] = ()
    """Tokens that a further chain follows; empty for none."""

    @classmethod
    def of_step(cls, row: Steps, step: int, positions: Sequence[int], **more: Any) -> "ChainsRequest":
        """About some masks of the region that a recorded pass saw, by the distributions that the row was decoded by.

        Args:
            row: Recorded.
            step: Number of the pass, from 0.
            positions: In the region, in the order of the chain.
            **more: The other fields.
        """
        prompt = row.canvas_prompt.tolist()
        return cls(
            canvas=[*prompt, *row.region_before(step).tolist()],
            prompt_length=len(prompt),
            positions=[len(prompt) + position for position in positions],
            config=DecodingConfig.from_options({name: row.options[name] for name in OF_DISTRIBUTIONS}),
            **more,
        )

    def plan(self, backbone: Backbone) -> ChainsPlan:
        """The same in every process; UsageError for tokens that this network does not have."""
        if outside := [token for token in self.canvas if not 0 <= token < backbone.vocab_size]:
            raise UsageError(
                f"a recorded canvas holds the token {outside[0]}, and the checkpoint has {backbone.vocab_size}; name "
                f"the checkpoint that the rows were recorded with."
            )
        forbidden = tuple(sorted(forbidden_ids(backbone, self.config)))
        return ChainsPlan(
            canvas=tuple(self.canvas),
            prompt_length=self.prompt_length,
            positions=tuple(self.positions),
            rule=LogitRule(forbidden, self.config.cfg_scale),
            key=RowKey.of(0, self.canvas, self.positions, 0),
            mask_token_id=backbone.mask_token_id,
            num_samples=self.num_samples,
            given=tuple(self.given),
        )

    def work(self, backbone: Backbone) -> Work[Chains]:
        return chaining(self.plan(backbone))

    def content(self) -> Mapping[str, Any]:
        effective = self.config.effective()
        return {
            "canvas": list(self.canvas),
            "prompt_length": self.prompt_length,
            "positions": list(self.positions),
            "num_samples": self.num_samples,
            "given": list(self.given),
            "options": {name: effective[name] for name in OF_DISTRIBUTIONS},
        }

    def restored(self, plain: Mapping[str, Any]) -> Chains:
        return Chains.from_plain(plain)


@dataclass(frozen=True, kw_only=True)
class ForesightRequest(Question):
    """A row that is decoded to its end, while exit rules say where they would have ended it."""

    prompt_ids: Sequence[int]
    config: DecodingConfig
    """Without an exit."""
    repeat: int
    rules: tuple[tuple[str, float | None], ...]
    """Name of each rule, and its `exit_threshold`."""

    @classmethod
    def of_row(cls, row: Steps, rules: Sequence[tuple[str, float | None]]) -> "ForesightRequest":
        """About a recorded row, decoded as it was but for its exit and cap."""
        ended_by = ("exit_rule", "exit_threshold", "max_nfe")
        options = {name: value for name, value in row.options.items() if name not in ended_by}
        config = dataclasses.replace(DecodingConfig.from_options(options), stop_when_settled=False, gold_score=False)
        return cls(prompt_ids=row.prompt_ids.tolist(), config=config, repeat=row.repeat, rules=tuple(rules))

    def work(self, backbone: Backbone) -> Work[Foresight]:
        plan = plan_row(backbone, self.prompt_ids, self.config, self.repeat)
        return foreseeing(plan, [EXIT_RULES[name](threshold) for name, threshold in self.rules])

    @property
    def is_cached(self) -> bool:
        return self.config.keeps

    def content(self) -> Mapping[str, Any]:
        return {
            "prompt_ids": list(self.prompt_ids),
            "repeat": self.repeat,
            "rules": [list(rule) for rule in self.rules],
            "options": self.config.effective(),
        }

    def restored(self, plain: Mapping[str, Any]) -> Foresight:
        return Foresight.from_plain(plain)
