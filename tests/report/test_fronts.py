import itertools

import pytest

from lm_eval_mdlm.report.attempts import pass_at
from lm_eval_mdlm.report.fronts import Point, best, front, knee, rank_agreement


POINTS = [Point("a", 10, 0.5), Point("b", 20, 0.8), Point("c", 20, 0.7), Point("d", 30, 0.8), Point("e", 40, 0.9)]


def test_front_is_what_a_sweep_from_the_cheapest_improves():
    assert [point.name for point in front(POINTS)] == ["a", "b", "e"]


@pytest.mark.parametrize("costs", list(itertools.product((1, 2, 3), repeat=3)))
def test_every_point_is_on_the_front_or_beaten_by_one_on_it(costs):
    points = [Point(str(i), cost, score) for i, (cost, score) in enumerate(zip(costs, (0.1, 0.2, 0.2), strict=True))]
    kept = front(points)
    for point in points:
        beaten = [
            k
            for k in kept
            if k.cost <= point.cost and k.score >= point.score and (k.cost, k.score) != (point.cost, point.score)
        ]
        assert (point in kept) != bool(beaten)


def test_equal_points_stay_on_the_front_together():
    assert len(front([Point("a", 1, 0.5), Point("b", 1, 0.5)])) == 2


def test_best_of_equal_scores_is_the_cheapest():
    assert best([Point("d", 30, 0.9), Point("e", 20, 0.9), Point("a", 1, 0.1)]).name == "e"


def test_knee_is_the_cheapest_that_is_not_shown_to_be_worse_than_the_best():
    assert knee(POINTS, lambda point, top: point.score < 0.8).name == "b"
    assert knee(POINTS, lambda point, top: True).name == "e"
    assert knee(POINTS, lambda point, top: False).name == "a"


def test_knee_of_equal_costs_is_the_better_one():
    points = [Point("low", 1, 0.5), Point("high", 1, 0.6), Point("top", 9, 0.9)]
    assert knee(points, lambda point, top: False).name == "high"


def test_knee_asks_for_differences_from_the_best_alone():
    asked = []
    knee(POINTS, lambda point, top: bool(asked.append(top.name)) or True)
    assert set(asked) == {"e"}


def tau_b(first, second):
    pairs = list(itertools.combinations(range(len(first)), 2))
    signs = [
        ((first[i] > first[j]) - (first[i] < first[j]), (second[i] > second[j]) - (second[i] < second[j]))
        for i, j in pairs
    ]
    untied = [sum(sign != 0 for sign in own) for own in zip(*signs, strict=True)]
    return sum(a * b for a, b in signs) / (untied[0] * untied[1]) ** 0.5


@pytest.mark.parametrize("second", [(1, 2, 3, 4), (4, 3, 2, 1), (1, 3, 2, 4), (1, 1, 2, 2), (0.9, 0.9, 0.9, 0.1)])
def test_rank_agreement_counts_pairs_in_the_same_order(second):
    assert rank_agreement((0.1, 0.2, 0.4, 0.3), second) == pytest.approx(tau_b((0.1, 0.2, 0.4, 0.3), second))


def test_no_order_agrees_with_none():
    assert rank_agreement((0.5, 0.5), (0.1, 0.2)) is None
    assert rank_agreement((0.5,), (0.1,)) is None


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pass_at_is_the_share_of_choices_of_attempts_that_hold_a_right_one(k):
    attempts = [(4, 0), (4, 1), (5, 3), (4, 4)]
    shares = []
    for n, right in attempts:
        chosen = list(itertools.combinations(range(n), k))
        shares.append(sum(min(choice) < right for choice in chosen) / len(chosen))
    assert pass_at(k, attempts) == pytest.approx(sum(shares) / 4)
