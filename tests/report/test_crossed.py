"""Errors over problems and prompts against enumerated draws and another library's one-way interval."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lm_eval_mdlm.report.crossed import mean_interval, spread, variance_of_mean


POPULATION = np.array([[1.0, 0.0, 0.5], [1.0, 0.0, 0.75], [1.0, 0.25, 0.25], [0.5, 0.5, 0.0]])  # problems x prompts


def test_variance_is_unbiased_over_all_draws_of_problems_and_prompts():
    problems = list(itertools.product(range(4), repeat=2))
    prompts = list(itertools.product(range(3), repeat=3))
    drawn = [POPULATION[np.ix_(rows, columns)] for rows in problems for columns in prompts]
    true = np.var([values.mean() for values in drawn])
    assert np.mean([variance_of_mean(values) for values in drawn]) == pytest.approx(true)
    over_problems_alone = np.mean([values.mean(axis=1).var(ddof=1) / 2 for values in drawn])
    assert over_problems_alone < 0.9 * true  # so that the test would notice a variance without prompts


def test_one_prompt_gives_students_interval_over_problems():
    values = np.array([0.2, 0.9, 0.4, 0.7, 0.1])
    expected = stats.ttest_1samp(values, 0.0)
    found = spread(values[:, None])
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))


def test_prompts_that_change_nothing_leave_the_error_over_problems():
    values = np.array([0.2, 0.9, 0.4, 0.7, 0.1])[:, None]
    repeated = np.repeat(values, 4, axis=1)
    assert spread(repeated).standard_error == pytest.approx(spread(values).standard_error)
    assert spread(repeated).degrees_of_freedom == 4


def test_prompts_that_shift_every_problem_alike_leave_only_their_number_of_degrees():
    shifts = np.array([0.0, 1.0, 2.0, 5.0])
    found = spread(np.repeat(shifts[None, :], 50, axis=0))
    assert found.standard_error == pytest.approx(shifts.std(ddof=1) / 2)
    assert found.degrees_of_freedom == pytest.approx(3)


def test_error_is_never_below_that_over_problems():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.integers(0, 2, (6, 3)).astype(float)
        alone = values.mean(axis=1).std(ddof=1) / 6**0.5
        assert spread(values).standard_error >= alone - 1e-12


def test_one_problem_has_no_interval_unless_it_is_right_or_wrong():
    assert spread(np.array([[0.3]])).interval is None
    assert spread(np.array([[0.3]])).p == 1.0
    assert mean_interval(np.array([[0.3]])) is None
    found = mean_interval(np.array([[1.0]]))
    assert found.low == pytest.approx(1 / (1 + 1.959964**2)) and found.high == pytest.approx(1.0)


def test_all_right_with_several_prompts_is_no_more_certain_than_with_one():
    one, many = mean_interval(np.ones((30, 1))), mean_interval(np.ones((30, 8)))
    assert one == many and one.low < 1


def test_no_difference_and_certain_difference_have_their_p():
    assert spread(np.zeros((5, 1))).p == 1.0
    assert spread(np.full((5, 1), 0.5)).p == 0.0
