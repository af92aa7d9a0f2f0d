"""Two methods on the same problems: how much they differ, how surely, and which answers changed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

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


def mean_of(cells: Sequence[Cell]) -> Mean:
    """Of all cells of a method on a board."""
    by_prompt = _by_prompt(cells)
    if not by_prompt:
        value = float(np.mean([cell.outcomes.mean for cell in cells]))
        return Mean(value=value, interval=None, num_problems=0, left_out=0, over="no samples")
    keys = _common(list(by_prompt.values()))
    values = _values(by_prompt, keys)
    return Mean(
        value=float(values.mean()) if keys else float(np.mean([cell.outcomes.mean for cell in cells])),
        interval=mean_interval(values) if keys else None,
        num_problems=len(keys),
        left_out=len(_all(cells)) - len(keys),
        over=_words(len(keys), by_prompt, cells),
    )


def difference(first: Sequence[Cell], second: Sequence[Cell]) -> Difference | None:
    """Of two methods on a board; None where they have no problem, or no prompt, in common.

    Prompts are paired with themselves; over seeds the mean is taken. Where each has a single prompt, and not the same,
    these two are paired, and `other_prompts` says so.
    """
    ours, theirs = _by_prompt(first), _by_prompt(second)
    if len(ours) == len(theirs) == 1:
        theirs = dict(zip(ours, theirs.values(), strict=True))
    prompts = [prompt for prompt in ours if prompt in theirs]
    keys = _common([one[prompt] for prompt in prompts for one in (ours, theirs)])
    if not keys:
        return None
    sign = 1.0 if first[0].outcomes.higher_is_better else -1.0
    apart = {prompt: {key: sign * (ours[prompt][key] - theirs[prompt][key]) for key in keys} for prompt in prompts}
    values = _values(apart, keys)
    interval, p, test = _surety(values)
    return Difference(
        value=float(values.mean()),
        interval=interval,
        p=p,
        test=test,
        better=int((values > 0).sum()),
        worse=int((values < 0).sum()),
        num_problems=len(keys),
        left_out=len(_all([*first, *second])) - len(keys),
        other_prompts=_asked_otherwise(first, second, keys),
        over=_words(len(keys), apart, [*first, *second]),
    )


def _surety(values: Values) -> tuple[Interval | None, float, str]:
    """Interval and p of a mean difference; right and wrong answers that vary over problems alone are counted."""
    if np.isin(values, (-1.0, 0.0, 1.0)).all() and varies_over_problems_alone(values):
        by_problem = values[:, 0]
        better, worse = int((by_problem > 0).sum()), int((by_problem < 0).sum())
        return paired_interval(better, worse, len(by_problem)), mcnemar(better, worse), "McNemar, exact"
    found = spread(values)
    return found.interval, found.p, "t"


def _by_prompt(cells: Sequence[Cell]) -> dict[str, Scores]:
    """The mean score over seeds of every document that all seeds have, by prompt."""
    found: dict[str, list[Scores]] = {}
    for cell in cells:
        if cell.outcomes.scores:
            found.setdefault(cell.prompt, []).append(cell.outcomes.scores)
    return {
        prompt: {key: float(np.mean([one[key] for one in seeds])) for key in _common(seeds)}
        for prompt, seeds in found.items()
    }


def _all(cells: Sequence[Cell]) -> set[Key]:
    return {key for cell in cells for key in cell.outcomes.scores}


def _common(scores: Sequence[Scores]) -> list[Key]:
    """Documents that all have, in the order of the first."""
    return [key for key in scores[0] if all(key in other for other in scores[1:])] if scores else []


def _values(by_prompt: Mapping[str, Scores], keys: Sequence[Key]) -> Values:
    return np.asarray([[scores[key] for scores in by_prompt.values()] for key in keys], dtype=float)


def _words(num_problems: int, prompts: Collection[str], cells: Sequence[Cell]) -> str:
    """Such as "60 problems, 2 prompts, 3 seeds"."""
    seeds = max(len({cell.seed for cell in cells if cell.prompt == prompt}) for prompt in prompts)
    counted = ((num_problems, "problem"), (len(prompts), "prompt"), (seeds, "seed"))
    return ", ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in counted if n != 1 or name == "problem")


def _asked_otherwise(first: Sequence[Cell], second: Sequence[Cell], keys: Sequence[Key]) -> int:
    prompts = {cell.prompt for cell in first} & {cell.prompt for cell in second}
    ours, theirs = (
        next((cell for cell in cells if cell.prompt in prompts), cells[0]).outcomes.samples for cells in (first, second)
    )
    hashes, others = ({one.key: one.prompt_hash for one in samples} for samples in (ours, theirs))
    return sum(bool(hashes.get(key) and others.get(key)) and hashes[key] != others[key] for key in keys)
