"""Decoding options as the user writes them, checked once at the border."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..canvas.template import Template
from ..decoding.exits import ExitRule
from ..decoding.policy import DecodingPolicy
from ..decoding.wrapping import Deferred, Spaced
from ..errors import UsageError
from . import values
from .checks import CHECKS
from .exits import EXIT_RULES, OPTIONS, check_units
from .foreign_names import instead_of
from .sampler_options import SamplerOptions
from .samplers import SAMPLERS, describe


DEFAULT_GEN_LENGTH = 256
DEFAULT_BLOCK_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class DecodingConfig(SamplerOptions):
    """Options of a request. Every field is a key of `--model_args` and of `--gen_kwargs`; None means not set."""

    min_distance: float | None = None
    """Any sampler: keep positions that are committed together apart, by max(2, floor(m g / b)) for this g, m eligible
    masks and a block of b positions; off if unset."""
    defer_end_of_text: bool = False
    """Any sampler: commit an end-of-text token only where no other proposal is eligible."""
    gen_length: int | None = None
    """Masks in the region, at least 1; the template's number, or 256, if unset. Resizes a template's reasoning."""
    block_length: int | None = None
    """Positions per block, at least 1; 32 if unset. `gen_length` or more for one block (any order), 1 for left to
    right. Samplers without fixed blocks refuse it; those of `ada_block` and `sliding_block` it sizes. Block-causal
    checkpoints have blocks of their own, as if unset, and refuse any other value."""
    template: Template | None = None
    """Segments of reasoning, fixed text and answer that fill the region; a region of masks only if unset."""
    exit_rule: str | None = None
    """What ends a row once its answer is clear: a name in `exits.EXIT_RULES`; `entropy` if unset and `exit_threshold`
    is set, off if both are unset."""
    exit_threshold: float | None = None
    """Of the exit rule: gamma, nats, at least 0 (`entropy`); a probability (`confidence`); passes (`stable`)."""
    max_nfe: int | None = None
    """Most forward passes of a row, at least 1; it then ends as it stands, but for an answer, which is filled from the
    last pass. As many as the sampler takes if unset."""
    cache: str | None = None
    """Approximate: `prefix` or `dual` recompute only part of the canvas in all passes of a block but its first, with
    stale keys and values for the rest. It changes results; passes so saved are counted as `nfe_partial`. Block-causal
    checkpoints have `exact` instead, their default, which changes nothing. `none`, or None where it is given, turns any
    off."""
    gold_score: bool = False
    """Also report the log-probability that the row's own passes gave to the gold answer; changes nothing else. Needs a
    template with exactly one answer segment, and an evaluation, whose documents have gold answers."""
    stop_when_settled: bool | None = None
    """Also end a row once its text can no longer change; never changes the text, only its NFE. If unset, False, but
    True for block-causal checkpoints."""
    temperature: float = 0.0
    """0 takes the most likely token; above, tokens are sampled from softmax(logits / temperature)."""
    top_k: int | None = None
    """With a temperature above 0: draw from so many of the likeliest tokens; 0 or -1 for all, as if unset. `dream`
    takes its confidence from them too, at any temperature."""
    top_p: float | None = None
    """With a temperature above 0, after `top_k`: draw from the fewest likeliest tokens that together have this
    probability, above 0 and at most 1; 1 for all, as if unset. `dream` does so before `top_k` and at any temperature,
    and takes its confidence from them."""
    min_p: float | None = None
    """With a temperature above 0, after `top_p`: draw from tokens at least this share as likely as the likeliest one,
    from 0 to 1; 0 for all, as if unset."""
    seed: int | None = None
    """Of sampled tokens and of `score=random`; together with the request's content. If unset, the harness's `--seed`
    under the harness, and 0 in Python."""
    cfg_scale: float = 0.0
    """Classifier-free guidance, at least 0; above 0 each step costs 2 forward passes."""
    suppress_tokens: tuple[int | str, ...] = ()
    """Token ids or token strings that are never proposed; the mask token never is."""
    until: tuple[str, ...] = ()
    """Stop strings: the text is cut at the first one after the last fixed text."""
    think_end_token: str | None = None
    """Text or token id that ends the thinking: all up to its last occurrence is left out of the returned text, and stop
    strings are looked for behind it."""
    add_bos_token: bool | None = None
    """Whether prompts begin with the beginning-of-text token; the tokenizer's own habit if unset."""
    max_length: int | None = None
    """Longest canvas in tokens, at most the checkpoint's; longer prompts are cut from the left."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any], base: "DecodingConfig | None" = None) -> "DecodingConfig":
        """Check untyped options and lay them over `base`.

        Raises:
            UsageError: For an unknown option, a value out of range, or an option of another sampler.
        """
        for name in options:
            if name not in CHECKS:
                hint = instead_of(name) or values.closest(name, CHECKS)
                raise UsageError(f"unknown decoding option {name!r}.{hint} Known: {', '.join(CHECKS)}.")
        # None on a command line, in YAML or in Python takes an option back to its default.
        defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(cls)}
        defaults["cache"] = "none"  # as the harness reads that word on a command line as None
        checked = {n: defaults[n] if v is None else CHECKS[n](n, v) for n, v in options.items()}
        check_units({} if base is None else {name: getattr(base, name) for name in OPTIONS}, checked)
        config = dataclasses.replace(base or cls(), **checked)
        config.refuse_options_of_other_samplers()
        config._check_together()
        return config

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of all options."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def _check_together(self) -> None:
        policy = self.policy()
        self.exit()
        if self.block_length is not None and not self._has_block_length:
            raise UsageError(
                f"block_length={self.block_length} would be ignored by sampler={self.sampler}, which has no fixed "
                f"blocks; leave it out (block_length=None takes a task's away)."
            )
        if self.keeps and not policy.has_fixed_blocks:
            raise UsageError(
                f"cache={self.cache} keeps what is outside of a block, and sampler={self.sampler} has no fixed blocks; "
                f"leave cache out."
            )
        for name in SAMPLERS[self.sampler].ignored(self.sampler_alone(), self.temperature):
            if (value := getattr(self, name)) is not None:
                raise UsageError(
                    f"{name}={value} would be ignored by sampler={self.sampler} as it is set here; leave it out "
                    f"({name}=None takes a task's away)."
                )
        if self.max_nfe == 1 and self.cfg_scale > 0:
            raise UsageError("max_nfe must be at least 2 with cfg_scale above 0, whose steps cost 2 passes, got 1.")

    def exit(self) -> ExitRule | None:
        """When a row ends because its answer is clear; None for never.

        Raises:
            UsageError: If the rule and its threshold do not fit together.
        """
        if self.exit_rule is None and self.exit_threshold is None:
            return None
        return EXIT_RULES[self.exit_rule or "entropy"](self.exit_threshold)

    @property
    def positions_per_block(self) -> int:
        """Of fixed blocks."""
        return self.block_length or DEFAULT_BLOCK_LENGTH

    @property
    def _has_block_length(self) -> bool:
        return "block_length" in SAMPLERS[self.sampler].shared or self.sampler_alone().has_fixed_blocks

    def policy(self) -> DecodingPolicy:
        """The rule that chooses positions."""
        policy = self.sampler_alone()
        if self.defer_end_of_text:
            policy = Deferred(policy)
        return policy if self.min_distance is None else Spaced(policy, self.min_distance)

    @property
    def draws(self) -> bool:
        """Whether random numbers decide anything, so that samples of one request differ."""
        return self.temperature > 0 or self.policy().needs_noise

    @property
    def has_answer(self) -> bool:
        """Whether there is an answer to watch."""
        return self.template is not None and self.template.has_answer

    @property
    def has_one_answer(self) -> bool:
        """Whether there is an answer that a gold one can stand beside."""
        return self.template is not None and sum(s.kind == "answer" for s in self.template.segments) == 1

    def names_exit(self) -> str:
        """The option that asks for an early exit, with its value; empty for none."""
        if self.exit_threshold is not None:
            return f"exit_threshold={self.exit_threshold:g}"
        return "" if self.exit_rule is None else f"exit_rule={self.exit_rule}"

    def resolved_template(self) -> Template | None:
        """The template at the size that `gen_length` asks for.

        Raises:
            UsageError: If it cannot be resized, or `exit_threshold` or `gold_score` are set without an answer to watch.
        """
        if self.gold_score and not self.has_one_answer:
            raise UsageError(
                "gold_score=True needs a template with exactly one answer segment; set template, use a task that has "
                "one, or leave gold_score out."
            )
        if (named := self.names_exit()) and not self.has_answer:
            raise UsageError(
                f"{named} needs a template with an answer segment, and there is none; set template, use a task that "
                f"has one, or leave {named.partition('=')[0]} out."
            )
        if self.template is None or self.gen_length is None:
            return self.template
        return self.template.resized(self.gen_length)

    @property
    def keeps(self) -> bool:
        """Whether rows keep keys and values between passes, once the options are fitted to a network."""
        return self.cache not in (None, "none")

    def effective(self) -> dict[str, Any]:
        """Every option that has an effect, defaults included, as plain values for the record."""
        own = {name for sampler in SAMPLERS.values() for name in sampler.options}
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in own}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
        template = self.template
        if template and self.gen_length:
            template = template.resized(self.gen_length)
        plain["cache"] = self.cache or "none"
        plain["stop_when_settled"] = bool(self.stop_when_settled)
        plain["gen_length"] = self.gen_length or (template.gen_length if template else DEFAULT_GEN_LENGTH)
        plain["block_length"] = self.positions_per_block if self._has_block_length else None
        if self.exit_threshold is not None:
            plain["exit_rule"] = self.exit_rule or "entropy"
        plain["template"] = template and [{s.kind: s.text or s.length} for s in template.segments]
        return {"sampler": self.sampler, **describe(self.sampler_alone()), **plain}
