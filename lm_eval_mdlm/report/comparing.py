"""Two methods on the same problems: how much they differ, how surely, and which answers changed."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .boards import Cell
from .crossed import Values, mean_interval, spread, varies_over_problems_alone
from .intervals import SIGNIFICANT, Interval, mcnemar, paired_interval


Key = tuple[str, int]
Scores = Mapping[Key, float]


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The score of one method."""

    value: float
    interval: Interval | None
    """None where there are no samples, or a single problem that is not right or wrong."""
    num_problems: int
    left_out: int
    """Problems that some of its cells have and others have not."""
    over: str
    """What the interval is over, in words."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first method against the second; positive where the first is better, whatever the metric's direction."""

    value: float
    interval: Interval | None
    p: float
    test: str
    """Name of the test that p is of."""
    better: int
    """Problems that the first does better on, those of every prompt by themselves."""
    worse: int
    num_problems: int
    left_out: int
    """Problems that only one of the two has."""
    other_prompts: int
    """Of the problems, those that the two were asked in different words."""
    over: str

    @property
    def is_worse(self) -> bool:
        """Whether it is significantly below 0."""
        return self.value < 0 and self.p < SIGNIFICANT


@dataclass(frozen=True)
class Side:
    """One method on a board, made ready to be compared with several others."""

    cells: tuple[Cell, ...]

    @cached_property
    def by_prompt(self) -> dict[str, Scores]:
        """The mean score over seeds of every document that all seeds have, by prompt."""
        found: dict[str, list[Scores]] = {}
        for cell in self.cells:
            if cell.outcomes.scores:
                found.setdefault(cell.prompt, []).append(cell.outcomes.scores)
        return {
            prompt: {key: sum(one[key] for one in seeds) / len(seeds) for key in _common(seeds)}
            for prompt, seeds in found.items()
        }

    @cached_property
    def keys(self) -> frozenset[Key]:
        """Documents that any cell has a score of."""
        return frozenset(key for cell in self.cells for key in cell.outcomes.scores)

    @cached_property
    def is_share(self) -> bool:
        """Whether scores lie between 0 and 1, and the metric is one that is better when higher."""
        scores = (score for cell in self.cells for score in cell.outcomes.scores.values())
        return self.cells[0].outcomes.higher_is_better and all(0 <= score <= 1 for score in scores)

    @cached_property
    def asked(self) -> dict[str, dict[Key, str]]:
        """Hashes of the contexts by prompt."""
        return {cell.prompt: {one.key: one.prompt_hash for one in cell.outcomes.samples} for cell in self.cells}


def side(cells: Sequence[Cell]) -> Side:
    """All cells of a method on a board."""
    return Side(tuple(cells))


def mean_of(one: Side) -> Mean:
    """Over all that the method has on the board."""
    reported = sum(cell.outcomes.mean for cell in one.cells) / len(one.cells)
    if not one.by_prompt:
        return Mean(value=reported, interval=None, num_problems=0, left_out=0, over="no samples")
    keys = _common(list(one.by_prompt.values()))
    values = _values(one.by_prompt, keys)
    return Mean(
        value=float(values.mean()) if keys else reported,
        interval=_possible(mean_interval(values), 0.0, one) if keys else None,
        num_problems=len(keys),
        left_out=len(one.keys) - len(keys),
        over=_words(len(keys), one.by_prompt, one),
    )


def difference(first: Side, second: Side) -> Difference | None:
    """Of two methods on a board; None where they have no problem, or no prompt, in common.

    Prompts are paired with themselves; over seeds the mean is taken. Where each has a single prompt, and not the same,
    these two are paired, and `other_prompts` says so.
    """
    pairs = _paired_prompts(first, second)
    both = {ours: (first.by_prompt[ours], second.by_prompt[theirs]) for ours, theirs in pairs}
    keys = _common([scores for pair in both.values() for scores in pair])
    if not keys:
        return None
    sign = 1.0 if first.cells[0].outcomes.higher_is_better else -1.0
    apart = {prompt: {key: sign * (one[key] - other[key]) for key in keys} for prompt, (one, other) in both.items()}
    values = _values(apart, keys)
    interval, p, test = _surety(values)
    return Difference(
        value=float(values.mean()),
        interval=_possible(interval, -1.0, first, second),
        p=p,
        test=test,
        better=int((values > 0).sum()),
        worse=int((values < 0).sum()),
        num_problems=len(keys),
        left_out=len(first.keys | second.keys) - len(keys),
        other_prompts=sum(
            any(_differ(first.asked[ours].get(key), second.asked[theirs].get(key)) for ours, theirs in pairs)
            for key in keys
        ),
        over=_words(len(keys), both, first, second),
    )


def _possible(interval: Interval | None, low: float, *sides: Side) -> Interval | None:
    """Of shares no more than what lies between `low` and 1."""
    return interval.within(low, 1.0) if interval and all(one.is_share for one in sides) else interval


def _paired_prompts(first: Side, second: Side) -> list[tuple[str, str]]:
    if len(first.by_prompt) == len(second.by_prompt) == 1:
        return list(zip(first.by_prompt, second.by_prompt, strict=True))
    return [(prompt, prompt) for prompt in first.by_prompt if prompt in second.by_prompt]


def _differ(ours: str | None, theirs: str | None) -> bool:
    """Whether two hashes are known and unlike."""
    return bool(ours and theirs) and ours != theirs


def _surety(values: Values) -> tuple[Interval | None, float, str]:
    """Interval and p of a mean difference; right and wrong answers that vary over problems alone are counted."""
    if np.isin(values, (-1.0, 0.0, 1.0)).all() and varies_over_problems_alone(values):
        by_problem = values[:, 0]
        better, worse = int((by_problem > 0).sum()), int((by_problem < 0).sum())
        return paired_interval(better, worse, len(by_problem)), mcnemar(better, worse), "McNemar, exact"
    found = spread(values)
    return found.interval, found.p, "t"


def _common(scores: Sequence[Scores]) -> list[Key]:
    """Documents that all have, in the order of the first."""
    return [key for key in scores[0] if all(key in other for other in scores[1:])] if scores else []


def _values(by_prompt: Mapping[str, Scores], keys: Sequence[Key]) -> Values:
    return np.asarray([[scores[key] for scores in by_prompt.values()] for key in keys], dtype=float)


def _words(num_problems: int, prompts: Collection[str], *sides: Side) -> str:
    """Such as "60 problems, 2 prompts, 3 seeds"; of two methods the seeds of the one that has more."""
    draws = [Counter(cell.prompt for cell in one.cells if cell.outcomes.scores) for one in sides]
    seeds = max(max(own.values()) for own in draws)
    counted = ((num_problems, "problem"), (len(prompts), "prompt"), (seeds, "seed"))
    return ", ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in counted if n != 1 or name == "problem")
