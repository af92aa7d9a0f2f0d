"""Intervals and tests against maximisation, enumeration and published values."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from lm_eval_mdlm.report.intervals import holm, mcnemar, paired_interval, share_interval


def log_likelihood(worse_share: float, difference: float, better: int, worse: int, n: int) -> float:
    shares = (worse_share + difference, worse_share, 1 - 2 * worse_share - difference)
    counts = (better, worse, n - better - worse)
    if any(share <= 0 < count for share, count in zip(shares, counts, strict=True)):
        return -math.inf
    return sum(count * math.log(share) for share, count in zip(shares, counts, strict=True) if count)


def score_statistic(difference: float, better: int, worse: int, n: int) -> float:
    """How many standard errors the observed difference is away, with the nuisance share found by a search."""
    low, high = max(0.0, -difference), (1 - difference) / 2
    grid = np.linspace(low, high, 2001)
    around = max(grid, key=lambda share: log_likelihood(float(share), difference, better, worse, n))
    step = (high - low) / 2000
    found = minimize_scalar(
        lambda share: -log_likelihood(share, difference, better, worse, n),
        bounds=(max(low, around - step), min(high, around + step)),
        method="bounded",
        options={"xatol": 1e-12},
    )
    variance = (2 * found.x + difference - difference**2) / n
    return ((better - worse) / n - difference) / math.sqrt(variance)


@pytest.mark.parametrize(("better", "worse", "n"), [(7, 3, 40), (12, 2, 50), (1, 0, 20), (5, 5, 10), (9, 9, 300)])
def test_paired_interval_ends_where_the_score_test_refuses(better, worse, n):
    found = paired_interval(better, worse, n)
    assert score_statistic(found.low, better, worse, n) == pytest.approx(1.959964, abs=1e-3)
    assert score_statistic(found.high, better, worse, n) == pytest.approx(-1.959964, abs=1e-3)


def test_paired_interval_agrees_with_the_textbook_for_many_problems():
    better, worse, n = 900, 700, 10_000
    half = 1.959964 * math.sqrt(better + worse - (better - worse) ** 2 / n) / n
    found = paired_interval(better, worse, n)
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-4)


@pytest.mark.parametrize(("better", "worse"), [(12, 0), (7, 3), (0, 0), (1, 0), (20, 0)])
def test_exchanging_the_two_turns_the_interval_round(better, worse):
    there, back = paired_interval(better, worse, 20), paired_interval(worse, better, 20)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


@pytest.mark.parametrize("n", [1, 10, 300])
def test_no_changed_answer_is_not_certainty_of_no_difference(n):
    found = paired_interval(0, 0, n)  # the score test of 0 of n: z^2 / (n + z^2)
    assert found.high == pytest.approx(1.959964**2 / (n + 1.959964**2), abs=1e-6)
    assert found.low == pytest.approx(-found.high)


def test_all_answers_changed_one_way_reaches_the_end_and_no_further():
    assert paired_interval(5, 0, 5).high == 1.0
    assert paired_interval(0, 5, 5).low == -1.0
    assert 0 < paired_interval(5, 0, 5).low < 1


def test_paired_interval_holds_the_true_difference_about_as_often_as_it_says():
    n, shares = 30, (0.12, 0.05)
    covered = 0.0
    for better, worse in itertools.product(range(n + 1), repeat=2):
        rest = n - better - worse
        if rest < 0:
            continue
        ways = math.comb(n, better) * math.comb(n - better, worse)
        chance = ways * shares[0] ** better * shares[1] ** worse * (1 - sum(shares)) ** rest
        if chance > 1e-9:
            found = paired_interval(better, worse, n)
            covered += chance * (found.low <= shares[0] - shares[1] <= found.high)
    assert 0.93 < covered < 0.98


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 0), (3, 7), (6, 6), (1, 9)])
def test_mcnemar_counts_the_splits_that_are_no_likelier(better, worse):
    splits = list(itertools.product((0, 1), repeat=better + worse))
    as_uneven = [s for s in splits if abs(2 * sum(s) - len(s)) >= abs(better - worse)]
    assert mcnemar(better, worse) == pytest.approx(len(as_uneven) / len(splits))


def test_holm_is_the_least_level_at_which_its_steps_refuse_a_test():
    values = [0.01, 0.04, 0.03, 0.005]

    def refused(level: float) -> set[int]:
        left = list(range(len(values)))
        while left:
            least = min(left, key=values.__getitem__)
            if values[least] > level / len(left):
                break
            left.remove(least)
        return set(range(len(values))) - set(left)

    for index, adjusted in enumerate(holm(values)):
        assert index in refused(adjusted + 1e-9)
        assert index not in refused(adjusted - 1e-9)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20)])
def test_share_interval_ends_where_the_score_test_of_a_share_refuses(right, n):
    found = share_interval(right, n)
    for end, is_certain in ((found.low, right == 0), (found.high, right == n)):
        if is_certain:
            assert end == pytest.approx(float(right > 0))
        else:
            assert abs(right / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), abs=1e-6)
