"""The figures of one board: every method's score, cost and difference from the baseline; front, knee, flips."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from .attempts import pass_at
from .boards import Board, Cell
from .comparing import Difference, Mean, Side, difference, mean_of, side
from .fronts import Point, best, front, knee, rank_agreement
from .intervals import SIGNIFICANT, holm
from .outcome_classes import OutcomeClass, classes_of


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one board."""

    method: str
    mean: Mean
    nfe: float | None
    """Mean forward passes per row; None where the model does not count them."""
    nfe_error: float | None
    """Standard error over rows."""
    to_baseline: Difference | None
    """None for the baseline itself, and where nothing is in common with it."""
    p_adjusted: float | None
    """Holm's, over the methods of the board that are compared with the baseline."""
    on_front: bool
    is_knee: bool
    classes: Counter[OutcomeClass] | None
    counts: Mapping[str, Sequence[float]]
    """`nfe` and `exit_step` of every row; of exit steps those of rows that exited."""
    truncated: int
    """Rows whose prompt was cut."""
    stops: Counter[str]
    """How rows ended, where the run says so."""
    certainty: Sequence[tuple[float, float]]
    """`answer_entropy` in nats, and score, of every row that has both."""
    attempts: Mapping[int, float]
    """pass@k by k; empty without repeats."""

    @property
    def is_worse(self) -> bool:
        """Whether it is significantly worse than the baseline, after Holm's adjustment."""
        return self._is_told_apart and self.to_baseline is not None and self.to_baseline.value < 0

    @property
    def is_better(self) -> bool:
        """Whether it is significantly better than the baseline, after Holm's adjustment."""
        return self._is_told_apart and self.to_baseline is not None and self.to_baseline.value > 0

    @property
    def _is_told_apart(self) -> bool:
        return self.p_adjusted is not None and self.p_adjusted < SIGNIFICANT


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One board."""

    board: Board
    baseline: str
    """A method of the board."""
    rows: tuple[Row, ...]
    best: str
    between: Mapping[tuple[str, str], Difference]
    """Of every pair of methods that have problems in common, in the board's order."""
    by_prompt: Mapping[str, Mapping[str, float]]
    """Mean score by prompt, then by method; empty with a single prompt."""
    agreement: Mapping[tuple[str, str], float | None]
    """Kendall's tau-b between the orders of the methods with two prompts."""

    def row(self, method: str) -> Row:
        """By name."""
        return next(row for row in self.rows if row.method == method)

    @property
    def knee(self) -> Row | None:
        """Of the method with the fewest passes that is not shown to be worse than the best; None without passes."""
        return next((row for row in self.rows if row.is_knee), None)

    def difference(self, method: str, other: str) -> Difference | None:
        """Of the first to the second; None where they have nothing in common."""
        return _to(method, other, self.between)

    def ahead(self, method: str, other: str) -> tuple[int, int]:
        """With how many prompts the first has the higher score, of how many prompts that both have."""
        both = [scores for scores in self.by_prompt.values() if method in scores and other in scores]
        sign = 1 if self.board.higher_is_better else -1
        return sum(sign * (scores[method] - scores[other]) > 0 for scores in both), len(both)


def default_baseline(board: Board) -> str:
    """The method with the most forward passes, or else the first."""
    costs = {method: _cost(board.of(method))[0] for method in board.methods}
    return max(board.methods, key=lambda method: costs[method] or 0.0)


def summarise(board: Board, baseline: str) -> Summary:
    """All figures of a board against a method of it."""
    methods = board.methods
    sides = {method: side(board.of(method)) for method in methods}
    between = {
        (one, other): found
        for one, other in combinations(methods, 2)
        if (found := difference(sides[one], sides[other])) is not None
    }
    rows = _adjusted([_row(method, sides[method], _to(method, baseline, between)) for method in methods])
    sign = 1.0 if board.higher_is_better else -1.0
    by_prompt = _by_prompt(board)
    points = [Point(row.method, row.nfe, sign * row.mean.value) for row in rows if row.nfe is not None]
    marked = _marked(rows, points, between)
    everything = [Point(row.method, row.nfe or 0.0, sign * row.mean.value) for row in rows]
    return Summary(
        board=board,
        baseline=baseline,
        rows=tuple(marked),
        best=best(points or everything).name,
        between=between,
        by_prompt=by_prompt,
        agreement=_agreement(by_prompt),
    )


def _to(method: str, other: str, between: Mapping[tuple[str, str], Difference]) -> Difference | None:
    """Of the first to the second, in whichever order it is known."""
    if (method, other) in between:
        return between[method, other]
    known = between.get((other, method))
    if known is None:
        return None
    interval = known.interval and replace(known.interval, low=-known.interval.high, high=-known.interval.low)
    return replace(known, value=-known.value, interval=interval, better=known.worse, worse=known.better)


def _row(method: str, own: Side, to_baseline: Difference | None) -> Row:
    cells = own.cells
    nfe, error = _cost(cells)
    exits = [step for cell in cells for step in cell.outcomes.count("exit_step") if step > 0]
    return Row(
        method=method,
        mean=mean_of(own),
        nfe=nfe,
        nfe_error=error,
        to_baseline=to_baseline,
        p_adjusted=None,
        on_front=False,
        is_knee=False,
        classes=classes_of(cells),
        counts={"nfe": [n for cell in cells for n in cell.outcomes.count("nfe")], "exit_step": exits},
        truncated=sum(int(n > 0) for cell in cells for n in cell.outcomes.count("truncated")),
        stops=Counter(stop for cell in cells for one in cell.outcomes.samples for stop in one.stops),
        certainty=[pair for cell in cells for pair in _certainty(cell)],
        attempts=_attempts(cells),
    )


def _certainty(cell: Cell) -> list[tuple[float, float]]:
    numbers = [one.numbers for one in cell.outcomes.samples]
    wanted = ("answer_entropy", cell.outcomes.metric)
    return [(own[wanted[0]], own[wanted[1]]) for own in numbers if all(name in own for name in wanted)]


def _cost(cells: Sequence[Cell]) -> tuple[float | None, float | None]:
    rows = [n for cell in cells for n in cell.outcomes.count("nfe")]
    if rows:
        return float(np.mean(rows)), float(np.std(rows, ddof=1) / len(rows) ** 0.5) if len(rows) > 1 else None
    reported = [cell.outcomes.nfe for cell in cells if cell.outcomes.nfe is not None]
    return (float(np.mean(reported)) if reported else None), None


def _adjusted(rows: Sequence[Row]) -> list[Row]:
    compared = [row for row in rows if row.to_baseline is not None]
    adjusted = holm([row.to_baseline.p for row in compared if row.to_baseline is not None])
    by_method = {row.method: p for row, p in zip(compared, adjusted, strict=True)}
    return [replace(row, p_adjusted=by_method.get(row.method)) for row in rows]


def _marked(rows: Sequence[Row], points: Sequence[Point], between: Mapping[tuple[str, str], Difference]) -> list[Row]:
    if not points:
        return list(rows)

    def is_worse(one: Point, other: Point) -> bool:
        found = _to(one.name, other.name, between)
        return found is None or found.is_worse  # what cannot be compared is no cheaper way to the same answers

    on_front = {point.name for point in front(points)}
    at_knee = knee(points, is_worse).name
    return [replace(row, on_front=row.method in on_front, is_knee=row.method == at_knee) for row in rows]


def _by_prompt(board: Board) -> dict[str, dict[str, float]]:
    if len(board.prompts) < 2:
        return {}
    return {
        prompt: {method: mean_of(side(cells)).value for method in board.methods if (cells := board.of(method, prompt))}
        for prompt in board.prompts
    }


def _agreement(by_prompt: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], float | None]:
    found = {}
    for one, other in combinations(by_prompt, 2):
        common = [method for method in by_prompt[one] if method in by_prompt[other]]
        first, second = ([by_prompt[prompt][method] for method in common] for prompt in (one, other))
        found[one, other] = rank_agreement(first, second)
    return found


def _attempts(cells: Sequence[Cell]) -> dict[int, float]:
    """pass@k, k in powers of two, where each problem was tried more than once with the same prompt."""
    tried: dict[tuple[str, tuple[str, int]], list[tuple[int, int]]] = {}
    for cell in cells:
        for sample in cell.outcomes.samples:
            # Of no other metric is a share known to be that of the repeats that are right.
            share = sample.numbers.get("pass@1")
            repeats = 1 if share is None else len(sample.readings)
            score = cell.outcomes.scores.get(sample.key) if share is None else share
            right = round((score or 0.0) * repeats)
            if score is None or not 0 <= score <= 1 or abs(score * repeats - right) > 1e-9:
                return {}
            tried.setdefault((cell.prompt, sample.key), []).append((repeats, right))
    attempts = [(sum(n for n, _ in one), sum(right for _, right in one)) for one in tried.values()]
    most = min((n for n, _ in attempts), default=0)
    return {k: pass_at(k, attempts) for k in (2**power for power in range(10)) if k <= most} if most > 1 else {}
