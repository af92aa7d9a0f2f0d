"""Whether an exit cut off an answer that would still have changed: by exit rule and threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.stats import binomtest


class Exited(Protocol):
    """Where one rule ends a row."""

    @property
    def step(self) -> int:
        """Number of the pass, from 1."""

    @property
    def answer(self) -> Sequence[int]:
        """Tokens at the answer positions."""


class Foreseen(Protocol):
    """One row, decoded to its end; see `engine.foresight.Foresight`."""

    @property
    def answer(self) -> Sequence[int]:
        """Tokens at the answer positions at last."""

    @property
    def steps(self) -> int:
        """Passes to the end."""

    @property
    def exits(self) -> Sequence[Exited | None]:
        """One per rule; None where it never fires."""


@dataclass(frozen=True, kw_only=True)
class RuleStability:
    """Of one rule over all rows."""

    rule: str
    threshold: float | None
    num_exits: int
    changed_share: float | None
    """Of exits, those whose answer is not the one at the end; None without an exit."""
    low: float | None
    """Lower end of its 95 % interval (Wilson)."""
    high: float | None
    """Upper end."""
    changed_of_rows: float
    """The same exits, of all rows: a row that never exits has its last answer."""
    steps: float
    """Mean passes of all rows, to the exit or to the end."""


def stability_of(
    foreseen: Sequence[Foreseen], rules: Sequence[tuple[str, float | None]], end_token_ids: Sequence[int]
) -> list[RuleStability]:
    """One entry per rule.

    Args:
        foreseen: At least one row.
        rules: Name and threshold of each rule.
        end_token_ids: An answer is what stands before the first of these.
    """
    return [_of_rule(foreseen, i, name, value, end_token_ids) for i, (name, value) in enumerate(rules)]


def _of_rule(
    foreseen: Sequence[Foreseen], number: int, name: str, threshold: float | None, ends: Sequence[int]
) -> RuleStability:
    exits = [(row, own) for row in foreseen if (own := row.exits[number]) is not None]
    changed = sum(text_of(own.answer, ends) != text_of(row.answer, ends) for row, own in exits)
    steps = [row.steps if (own := row.exits[number]) is None else own.step for row in foreseen]
    interval = binomtest(changed, len(exits)).proportion_ci(method="wilson") if exits else None
    return RuleStability(
        rule=name,
        threshold=threshold,
        num_exits=len(exits),
        changed_share=changed / len(exits) if exits else None,
        low=None if interval is None else float(interval.low),
        high=None if interval is None else float(interval.high),
        changed_of_rows=changed / len(foreseen),
        steps=float(np.mean(steps)),
    )


def text_of(answer: Sequence[int], end_token_ids: Sequence[int]) -> tuple[int, ...]:
    """The tokens before the first end of text."""
    own = list(answer)
    first = next((i for i, token in enumerate(own) if token in end_token_ids), len(own))
    return tuple(own[:first])


def at_equal_steps(found: Sequence[RuleStability]) -> list[Mapping[str, float | None]]:
    """What each rule changes at the mean passes of the entropy rule's thresholds, of all rows.

    Between two of a rule's thresholds its share is taken to be linear in passes; None outside of its thresholds.
    """
    rules = sorted({own.rule for own in found})
    table: list[Mapping[str, float | None]] = []
    for reference in sorted((own for own in found if own.rule == "entropy"), key=lambda own: own.steps):
        row: dict[str, float | None] = {"threshold": reference.threshold, "steps": reference.steps}
        for rule in rules:
            points = sorted((own.steps, own.changed_of_rows) for own in found if own.rule == rule)
            steps, shares = zip(*points, strict=True)
            inside = steps[0] <= reference.steps <= steps[-1]
            row[rule] = float(np.interp(reference.steps, steps, shares)) if inside else None
        table.append(row)
    return table
