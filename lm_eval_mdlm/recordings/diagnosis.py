"""All figures about the rows of one task, decoded by the same options."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .certainty import Certainty, Quantiles, certainty_of
from .joint import Factorisation, Tightness
from .order import Order, order_of
from .passes import Passes, passes_of
from .stability import RuleStability
from .steps import Steps
from .verdicts import Verdict, verdicts_of


@dataclass(frozen=True)
class Group:
    """Rows that belong together."""

    task: str | None
    options: Mapping[str, Any]
    """But for the seed."""
    rows: tuple[Steps, ...]


@dataclass(frozen=True, kw_only=True)
class WithModel:
    """What takes the network to find out."""

    factorisation: Factorisation | None
    """None without a pass that committed several tokens."""
    tightness: Tightness | None
    """None without an answer to decode."""
    stability: tuple[RuleStability, ...] = ()
    """By exit rule and threshold; empty without an answer to decode."""
    own_exit: RuleStability | None = None
    """Of the rule that the rows were decoded with; None without one."""
    at_equal_steps: tuple[Mapping[str, float | None], ...] = ()
    nfe: int
    """Forward passes that it took."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Of one group."""

    task: str | None
    options: Mapping[str, Any]
    passes: Passes
    order: Order | None
    certainty: Certainty
    with_model: WithModel | None
    """None where no network was named."""
    verdicts: tuple[Verdict, ...]

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)


def groups_of(rows: Sequence[Steps]) -> list[Group]:
    """Rows by task and options, in the order of their first row."""
    groups: dict[tuple[str | None, str], list[Steps]] = {}
    for row in rows:
        options = {name: value for name, value in row.options.items() if name != "seed"}
        groups.setdefault((row.task, json.dumps(options, sort_keys=True)), []).append(row)
    return [Group(task, json.loads(options), tuple(own)) for (task, options), own in groups.items()]


def diagnosed(group: Group, with_model: WithModel | None = None) -> Diagnosis:
    """All that can be said of a group."""
    order, certainty = order_of(group.rows), certainty_of(group.rows)
    measured = () if with_model is None else (with_model.factorisation, with_model.tightness, with_model.own_exit)
    return Diagnosis(
        task=group.task,
        options=group.options,
        passes=passes_of(group.rows),
        order=order,
        certainty=certainty,
        with_model=with_model,
        verdicts=tuple(verdicts_of(group.options, order, certainty, *measured)),
    )


def told(found: Diagnosis) -> Iterator[str]:
    """The diagnosis in lines of text."""
    passes, order, certainty = found.passes, found.order, found.certainty
    stops = ", ".join(f"{name} {number}" for name, number in passes.stops.items())
    yield f"{found.task or 'rows'}, sampler={found.options['sampler']}: {passes.num_rows} rows ({stops})"
    partial = f", {passes.nfe_partial:.1f} of them partial" if passes.nfe_partial else ""
    yield f"  passes: {_middle(passes.nfe)}{partial}; {passes.nominal:.1f} masks, {passes.speed_up:.2f} per pass"
    if passes.exit_step is not None and passes.unfilled_share is not None:
        yield f"  exits at pass {_middle(passes.exit_step)}; {passes.unfilled_share.mean:.0%} of the reasoning unfilled"
    if order is not None:
        tau = "" if order.kendall_tau is None else f", Kendall's tau to left to right {order.kendall_tau:.2f}"
        yield (
            f"  order: {order.leftmost_share:.0%} leftmost, {order.mean_distance:.1f} masks left standing before{tau}, "
            f"{order.tokens_per_step:.2f} tokens per pass"
        )
    yield f"  entropy at commit, nats: {_middle(certainty.entropy)}"
    if certainty.bound is not None and certainty.safe_number is not None:
        yield (
            f"  passes with several commits: sum minus largest entropy {_middle(certainty.bound)} nats; safe number "
            f"{_middle(certainty.safe_number)}"
        )
    if found.with_model is not None:
        yield from _told_of_model(found.with_model)
    for verdict in found.verdicts:
        yield f"  {'!' if verdict.found else '-'} {verdict.text}"


def _told_of_model(found: WithModel) -> Iterator[str]:
    factorisation, tightness = found.factorisation, found.tightness
    if factorisation is not None and factorisation.error is not None and factorisation.bound is not None:
        stated = factorisation.stated_bound
        promise = "" if stated is None else f", threshold's promise {stated:.3g}"
        yield (
            f"  factorisation error of {factorisation.num_steps} passes, nats: mean {factorisation.error.mean:.3g} +- "
            f"{factorisation.error_se:.2g}, bound {factorisation.bound.mean:.3g}{promise}; clearly above the bound "
            f"{factorisation.above_bound_share:.1%}"
        )
    if tightness is not None and tightness.joint is not None and tightness.bound is not None:
        related = "" if tightness.pearson is None else f"; Pearson {tightness.pearson:.3f}"
        related += "" if tightness.spearman is None else f", Spearman {tightness.spearman:.3f}"
        yield (
            f"  answer's joint entropy over {tightness.num_states} passes ({tightness.num_exits} exits), nats: mean "
            f"{tightness.joint.mean:.3g}, H_UB {tightness.bound.mean:.3g}{related}; clearly above H_UB "
            f"{tightness.above_share:.1%}"
        )
    for own in found.stability:
        if own.changed_share is not None and own.low is not None and own.high is not None:
            threshold = "" if own.threshold is None else f" {own.threshold:g}"
            yield (
                f"  exit by {own.rule}{threshold}: {own.num_exits} exits, mean passes {own.steps:.1f}; answer would "
                f"have changed {own.changed_share:.1%} ({own.low:.1%} to {own.high:.1%})"
            )


def _middle(found: Quantiles | None) -> str:
    if found is None:
        return "none"
    return f"mean {found.mean:.3g}, median {found.median:.3g}, 10 to 90 % {found.p10:.3g} to {found.p90:.3g}"
