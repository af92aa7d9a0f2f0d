"""What figures say, in words: each way to fail that the paper or its neighbours met, and the option to change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .certainty import SAFE_BOUND, Certainty
from .joint import Factorisation, Tightness
from .order import Order
from .stability import RuleStability


FLAT = 2 / 3
"""Share of passes that find several masks and commit one, above which a threshold does little."""
UNSAFE = 1 / 2
"""Share of parallel passes that commit more than the safe number, above which k is too large."""
EARLY = 0.05
"""Share of exits whose answer would have changed, above which exits come too early."""
ENDS_FIRST = 1 / 2
"""Share of rows that write an end of text while more than half of the masks are left, above which ends come first."""
ABOVE = 0.05
"""Share of parallel passes whose error is clearly above its bound, above which the bound promises nothing."""
LOOSE = 1 / 2
"""Joint entropy over its bound, below which the bound is loose."""
THRESHOLDS: Mapping[str, tuple[str, str]] = {
    "med": ("entropy_threshold", "raise"),
    "entropy_bound": ("entropy_bound", "raise"),
    "confidence_threshold": ("confidence_threshold", "lower"),
    "confidence_factor": ("factor", "raise"),
    "klass": ("confidence_threshold", "lower"),
    "credit": ("confidence_threshold", "lower"),
    "local_leap": ("relaxed_threshold", "lower"),
}
"""Of samplers that commit as many as seem sure: the option, and what gives more tokens per pass."""
LATER: Mapping[str, str] = {
    "entropy": "lower exit_threshold",
    "confidence": "raise exit_threshold",
    "stable": "raise exit_threshold",
    "logit_gap": "use exit_rule=entropy",
}
"""By exit rule, what lets rows go on for longer."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One way to fail."""

    name: str
    found: bool
    """Whether the figures show it."""
    text: str


def verdicts_of(
    options: Mapping[str, Any],
    order: Order | None,
    certainty: Certainty,
    factorisation: Factorisation | None = None,
    tightness: Tightness | None = None,
    own_exit: RuleStability | None = None,
) -> list[Verdict]:
    """Those that the figures decide; what was not measured is not judged."""
    found: list[Verdict] = []
    found += _flat(options, certainty)
    found += _fixed_k(options, certainty)
    if order is not None:
        found += _ends_first(options, order)
    if own_exit is not None:
        found += _early(own_exit)
    if factorisation is not None:
        found += _above(options, factorisation)
    if tightness is not None:
        found += _loose(tightness)
    return found


def _flat(options: Mapping[str, Any], certainty: Certainty) -> Iterator[Verdict]:
    sampler = str(options["sampler"])
    if sampler not in THRESHOLDS or certainty.entropy is None:
        return
    name, way = THRESHOLDS[sampler]
    share = f"{certainty.lone_share:.0%} of the passes that found several masks committed one token"
    if certainty.lone_share <= FLAT or certainty.lone_entropy is None:
        yield Verdict(name="flat", found=False, text=f"{sampler} finds tokens to commit together: {share}.")
        return
    at = f"at a median entropy of {certainty.lone_entropy.median:.3g} nats"
    step = f"{way} {name} (now {options.get(name)}), or use a larger block_length"
    yield Verdict(name="flat", found=True, text=f"entropies are too flat for {sampler}: {share}, {at}; {step}.")


def _fixed_k(options: Mapping[str, Any], certainty: Certainty) -> Iterator[Verdict]:
    if options["sampler"] != "fixed_k" or certainty.safe_number is None:
        return
    named = f"k={options['k']}" if options.get("k") else f"steps={options.get('steps')}"
    safe = int(certainty.safe_number.median)
    share = (
        f"{certainty.unsafe_share:.0%} of the passes with several commits hold more than the safe number (sum minus "
        f"largest entropy up to {SAFE_BOUND:g} nats), whose median is {safe}"
    )
    if certainty.unsafe_share <= UNSAFE:
        yield Verdict(name="fixed_k", found=False, text=f"{named} is within what is safe: {share}.")
        return
    step = f"set k={safe}, or sampler=med, which takes as many as are sure"
    yield Verdict(name="fixed_k", found=True, text=f"{named} is above the safe number: {share}; {step}.")


def _ends_first(options: Mapping[str, Any], order: Order) -> Iterator[Verdict]:
    share = (
        f"{order.early_end_share:.0%} of the rows wrote an end of text while more than half of their masks were left"
    )
    if order.early_end_share <= ENDS_FIRST:
        yield Verdict(name="ends_first", found=False, text=f"ends of text do not come first: {share}.")
        return
    length = options.get("block_length")
    now = "" if length is None else f" (now {length})"
    step = f"set defer_end_of_text=True, or a smaller block_length{now}"
    yield Verdict(name="ends_first", found=True, text=f"ends of text come first: {share}; {step}.")


def _early(own: RuleStability) -> Iterator[Verdict]:
    if own.changed_share is None:
        return
    share = (
        f"{own.changed_share:.1%} of {own.num_exits} exits (95 %: {own.low:.1%} to {own.high:.1%}) cut off an answer "
        f"that would have changed"
    )
    if own.changed_share <= EARLY:
        yield Verdict(name="early", found=False, text=f"exits come when the answer stands: {share}.")
        return
    now = "" if own.threshold is None else f" (now {own.threshold:g})"
    yield Verdict(
        name="early", found=True, text=f"exits come before the reasoning is done: {share}; {LATER[own.rule]}{now}."
    )


def _above(options: Mapping[str, Any], found: Factorisation) -> Iterator[Verdict]:
    share = (
        f"the error of {found.above_bound_share:.1%} of {found.num_steps} parallel passes is clearly above its bound"
    )
    if found.above_bound_share <= ABOVE:
        yield Verdict(name="above_bound", found=False, text=f"the bound on the factorisation error holds: {share}.")
        return
    name, way = THRESHOLDS.get(str(options["sampler"]), ("k", "raise"))
    step = f"{'lower' if way == 'raise' else 'raise'} {name} where that error matters"
    text = (
        f"conditionals do not agree on one distribution: {share}, by {found.mean_excess:.3g} nats on average; {step}."
    )
    yield Verdict(name="above_bound", found=True, text=text)


def _loose(found: Tightness) -> Iterator[Verdict]:
    if found.ratio is None:
        return
    share = f"the answer's joint entropy is {found.ratio:.0%} of its bound over {found.num_states} passes"
    if found.above_share > ABOVE:
        text = f"{share}, and clearly above it in {found.above_share:.0%} of them: conditionals do not agree"
        yield Verdict(
            name="exit_bound",
            found=True,
            text=f"the entropy bound of the exit does not hold: {text}; lower exit_threshold.",
        )
        return
    yield Verdict(name="exit_bound", found=False, text=f"the entropy bound of the exit holds: {share}.")
    if found.ratio >= LOOSE:
        yield Verdict(name="loose_bound", found=False, text=f"the entropy bound of the exit is tight: {share}.")
        return
    step = f"an exit_threshold higher by up to {1 / max(found.ratio, 1e-3):.3g} times asks for the same certainty"
    yield Verdict(name="loose_bound", found=True, text=f"the entropy bound of the exit is loose: {share}; {step}.")
