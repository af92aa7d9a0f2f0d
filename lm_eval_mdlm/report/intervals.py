"""Intervals and tests of right and wrong answers on the same problems: what two runs differ by, and how surely."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm


LEVEL = 0.95
"""Of every interval of a page."""
SIGNIFICANT = 0.05
"""A p below it is called significant."""


@dataclass(frozen=True)
class Interval:
    """The values that are not refused at 5 %."""

    low: float
    high: float

    def within(self, low: float, high: float) -> "Interval":
        """Without values that cannot be."""
        return Interval(min(max(self.low, low), high), max(min(self.high, high), low))


def share_interval(right: int, n: int) -> Interval:
    """Wilson's score interval of a share, which is sound for none and all of few problems too.

    Args:
        right: From 0 to n.
        n: At least 1.
    """
    found = binomtest(right, n).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def paired_interval(better: int, worse: int, n: int) -> Interval:
    """Interval of the difference of two shares on the same problems, from -1 to 1.

    Tango's score interval (Statistics in Medicine 17, 1998, 891-908). In the middle it agrees with the textbook's
    `sqrt(b + c - (b - c)^2 / n) / n`; that one has length 0 where no problem tells the two apart, this one has not.

    Args:
        better: Problems that only the first has right.
        worse: Problems that only the second has right.
        n: All problems, at least 1.
    """
    found = (better - worse) / n
    level = float(norm.ppf((1 + LEVEL) / 2))

    def excess(difference: float) -> float:
        spread = n * (2 * _worse_share(difference, better, worse, n) + difference * (1 - difference))
        return (better - worse - n * difference) ** 2 - level**2 * spread

    step = 1e-12  # at the estimate itself the excess may be 0, which is no end of the interval
    low = -1.0 if worse == n else brentq(excess, -1.0, found - step)
    high = 1.0 if better == n else brentq(excess, found + step, 1.0)
    return Interval(float(low), float(high))


def _worse_share(difference: float, better: int, worse: int, n: int) -> float:
    """The likeliest share of problems that only the second has right, were the shares to differ by so much."""
    linear = (2 * n - better + worse) * difference - better - worse
    constant = -worse * difference * (1 - difference)
    root = math.sqrt(max(linear**2 - 8 * n * constant, 0.0))
    return (root - linear) / (4 * n)


def mcnemar(better: int, worse: int) -> float:
    """Two-sided exact p of as uneven a split by chance; 1 where no problem tells the two apart."""
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p of several tests, in the order given: one wrong finding among all at most at their level."""
    ordered = np.argsort(values, kind="stable")
    scaled = np.asarray(values, dtype=float)[ordered] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[ordered] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]
