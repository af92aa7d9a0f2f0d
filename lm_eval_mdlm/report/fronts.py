"""Which points of accuracy against cost are worth having, and whether prompts agree on the order of methods."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.stats import kendalltau


@dataclass(frozen=True)
class Point:
    """A method by what it costs and what it gives."""

    name: str
    cost: float
    """Mean forward passes per row."""
    score: float
    """Higher is better."""


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in one without losing in the other, by cost. Equal points all stay."""
    kept = [
        one
        for one in points
        if not any(
            (other.cost <= one.cost and other.score > one.score) or (other.cost < one.cost and other.score >= one.score)
            for other in points
        )
    ]
    return sorted(kept, key=lambda point: point.cost)


def best(points: Sequence[Point]) -> Point:
    """The highest score; of equal ones the cheapest."""
    return min(points, key=lambda point: (-point.score, point.cost))


def knee(points: Sequence[Point], is_worse: Callable[[Point, Point], bool]) -> Point:
    """The cheapest that is not shown to be worse than the best; the best itself at most.

    Args:
        points: At least one.
        is_worse: Whether the first is significantly worse than the second.
    """
    top = best(points)
    rest = sorted(points, key=lambda point: (point.cost, -point.score))
    return next(point for point in rest if point == top or not is_worse(point, top))


def rank_agreement(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b between two scorings of the same methods; None where one of them has no order at all."""
    if len(first) < 2:
        return None
    tau = float(kendalltau(first, second).statistic)
    return None if math.isnan(tau) else tau
