"""The question of exits: where would each rule have ended this row, with which answer, and which answer comes at last?

Rules watch one and the same row, which none of them ends. What a rule says depends on the row's past alone, so that
each finds what it would have found by itself.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..decoding.exits import AnswerView, ExitRule
from .decode import FILLING
from .job import Work
from .plan import RowPlan
from .query import Reading
from .row import Row


@dataclass(frozen=True)
class Exit:
    """Where one rule would have ended a row."""

    step: int
    """Number of the pass, from 1."""
    answer: tuple[int, ...]
    """What would stand at the answer positions."""


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """A row that was decoded to its end, and the exits that it passed."""

    answer: tuple[int, ...]
    """What stands at the answer positions at last."""
    steps: int
    """Passes to the end; under guidance each costs two."""
    exits: tuple[Exit | None, ...]
    """One per rule; None where it never fires."""
    nfe: int
    """Forward passes to the end; guidance counts 2."""

    @property
    def tokens(self) -> int:
        """None are kept."""
        return 0

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Foresight":
        """The inverse of `to_plain`, also after a way through JSON."""
        exits = [None if one is None else Exit(one["step"], tuple(one["answer"])) for one in plain["exits"]]
        return cls(**{**plain, "answer": tuple(plain["answer"]), "exits": tuple(exits)})


@dataclass(frozen=True)
class _Watch:
    """What one rule has come to."""

    memory: Any = None
    fired: Exit | None = None


class _WatchedRow(Row):
    """Asks several rules after every pass, and goes on."""

    def __init__(self, plan: RowPlan, rules: Sequence[ExitRule]) -> None:
        self._rules = rules
        super().__init__(dataclasses.replace(plan, exit_rule=None), FILLING)
        self._exit_memory = tuple(_Watch() for _ in rules)
        self._answer_at = np.array(plan.region.answer_positions, dtype=np.int64)

    @property
    def watches_answer(self) -> bool:
        """See `Row`."""
        return bool(self._rules)

    @property
    def watches(self) -> tuple[_Watch, ...]:
        """One per rule."""
        watches: tuple[_Watch, ...] = self._exit_memory
        return watches

    def exits(self, reading: Reading) -> tuple[bool, Any]:
        """Never; what the rules have come to is remembered."""
        return False, tuple(
            watch if watch.fired else self._judged(rule, watch, reading)
            for rule, watch in zip(self._rules, self.watches, strict=True)
        )

    def _judged(self, rule: ExitRule, watch: _Watch, reading: Reading) -> _Watch:
        view = self.answer_view(reading, watch.memory)
        fires, memory = rule.judge(view)
        return _Watch(memory, Exit(self.steps + 1, self._answer_with(view)) if fires else None)

    def _answer_with(self, view: AnswerView) -> tuple[int, ...]:
        """The answer with the pass's proposals at its masks."""
        region = np.array(self.region_ids)
        region[view.positions] = view.argmax
        return tuple(region[self._answer_at].tolist())

    @property
    def answer(self) -> tuple[int, ...]:
        """As it stands."""
        return tuple(np.array(self.region_ids)[self._answer_at].tolist())


def foreseeing(plan: RowPlan, rules: Sequence[ExitRule]) -> Work[Foresight]:
    """Decode one plan to its end at temperature 0, or as it samples, and tell where each rule would have ended it.

    An answer at an exit takes the most likely token at each of its masks.
    """
    row = _WatchedRow(plan, rules)
    yield [row]
    return Foresight(
        answer=row.answer,
        steps=row.steps,
        exits=tuple(watch.fired for watch in row.watches),
        nfe=row.steps * plan.nfe_per_step,
    )
