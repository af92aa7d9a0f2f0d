"""The error of a mean over problems that were all asked in the same prompts."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from .intervals import LEVEL, Interval, share_interval


Values = NDArray[np.float64]
"""One value for every problem and prompt, by axes in this order: the mean over seeds."""


@dataclass(frozen=True)
class Spread:
    """How surely a mean is known."""

    mean: float
    standard_error: float | None
    """None where a single problem says nothing of it."""
    degrees_of_freedom: float
    """Of Student's t."""

    @property
    def interval(self) -> Interval | None:
        """Student's, None without a standard error."""
        if self.standard_error is None:
            return None
        half = self.standard_error * float(student.ppf((1 + LEVEL) / 2, self.degrees_of_freedom))
        return Interval(self.mean - half, self.mean + half)

    @property
    def p(self) -> float:
        """Two-sided, of a mean of 0; 1 where nothing speaks against it."""
        if self.standard_error is None or self.mean == 0:
            return 1.0
        if self.standard_error == 0:
            return 0.0
        return float(2 * student.sf(abs(self.mean) / self.standard_error, self.degrees_of_freedom))


def spread(values: Values) -> Spread:
    """Mean and error over problems, and over prompts where there are several: other ones would change the mean.

    With several prompts the variance is that of a two-way analysis with both axes random, unless its estimate comes
    out below the one over problems alone, which is then taken. Degrees of freedom are Satterthwaite's. Seeds need no
    axis of their own: rows draw independently, so that their noise is part of the spread between problems.

    Args:
        values: At least one.
    """
    num_problems, num_prompts = values.shape
    mean = float(values.mean())
    if num_problems < 2:
        return Spread(mean, None, 0.0)
    between_problems = num_prompts * float(values.mean(axis=1).var(ddof=1)) / values.size
    if num_prompts < 2 or (variance := variance_of_mean(values)) <= between_problems:
        return Spread(mean, between_problems**0.5, num_problems - 1)
    between_prompts = num_problems * float(values.mean(axis=0).var(ddof=1)) / values.size
    rest = between_problems + between_prompts - variance
    degrees = (num_problems - 1, num_prompts - 1, (num_problems - 1) * (num_prompts - 1))
    parts = sum(one**2 / df for one, df in zip((between_problems, between_prompts, rest), degrees, strict=True))
    return Spread(mean, variance**0.5, variance**2 / parts)


def variance_of_mean(values: Values) -> float:
    """Unbiased estimate of the variance of the mean over draws of problems and prompts, at least two of each.

    The sum of the mean squares of both, less that of what remains, over the number of values.
    """
    num_problems, num_prompts = values.shape
    by_problem, by_prompt = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = values - by_problem - by_prompt + values.mean()
    squares = (
        num_prompts * float(by_problem.var(ddof=1)),
        num_problems * float(by_prompt.var(ddof=1)),
        -float((rest**2).sum()) / ((num_problems - 1) * (num_prompts - 1)),
    )
    return math.fsum(squares) / values.size


def varies_over_problems_alone(values: Values) -> bool:
    """Whether every problem has the same value with all prompts."""
    return bool((values == values[:, :1]).all())


def mean_interval(values: Values) -> Interval | None:
    """Interval of a mean of scores: Wilson's where they are right or wrong and vary over problems alone."""
    if np.isin(values, (0.0, 1.0)).all() and varies_over_problems_alone(values):
        return share_interval(int(values[:, 0].sum()), len(values))
    return spread(values).interval
