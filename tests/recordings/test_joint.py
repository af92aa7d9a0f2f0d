"""Figures from chains and exits, against exact values."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats

from lm_eval_mdlm.recordings.joint import factorisation_of, tightness_of
from lm_eval_mdlm.recordings.stability import at_equal_steps, stability_of, text_of


@dataclass(frozen=True)
class Sampled:
    together: list[float]
    apart: list[float]
    divergence: list[float]
    conditional_entropy: list[float]
    entropies: list[float]
    given_together: float | None = None
    given_apart: float | None = None


def sampled(p: np.ndarray, n: int, rng: np.random.Generator) -> Sampled:
    """Chains of a joint distribution over two positions, as an engine would draw them."""
    rows, columns = p.sum(1), p.sum(0)
    drawn = [divmod(int(i), p.shape[1]) for i in rng.choice(p.size, size=n, p=p.ravel())]
    entropy = [scipy.stats.entropy(rows), scipy.stats.entropy(columns)]
    behind = [float(scipy.stats.entropy(row / row.sum())) for row in p]
    divergences = [float(scipy.stats.entropy(row / row.sum(), columns)) for row in p]
    return Sampled(
        together=[math.log(p[i, j]) for i, j in drawn],
        apart=[math.log(rows[i] * columns[j]) for i, j in drawn],
        divergence=[divergences[i] for i, _ in drawn],
        conditional_entropy=[entropy[0] + behind[i] for i, _ in drawn],
        entropies=[float(own) for own in entropy],
        given_together=math.log(p[0, 0]),
        given_apart=math.log(rows[0] * columns[0]),
    )


JOINTS = [np.array(p) / np.sum(p) for p in ([[5, 1], [1, 3]], [[1, 1], [1, 1]], [[9, 0.01], [0.01, 1]])]


@pytest.mark.parametrize("p", JOINTS, ids=["some", "none", "all"])
def test_error_is_the_divergence_from_the_product_of_marginals(p):
    product = np.outer(p.sum(1), p.sum(0))
    exact = float((p * np.log(p / product)).sum())
    one = sampled(p, 20000, np.random.default_rng(0))
    values = np.array(one.divergence)
    assert values.mean() == pytest.approx(exact, abs=4 * values.std() / 141 + 1e-9)
    found = factorisation_of([one], [0.01])
    assert found.error.mean == pytest.approx(values.mean())
    assert found.bound.mean == pytest.approx(min(one.entropies))
    assert found.above_bound_share == 0 and found.above_stated_share == (exact > 0.02)
    assert found.committed.mean == pytest.approx(math.log(p[0, 0] / product[0, 0]))


def test_what_is_clearly_above_the_bound_is_told_by_how_much():
    # Marginals of a first pass that the chain then disowns: no joint distribution has these conditionals.
    wrong = Sampled([-0.1] * 8, [-3.0] * 8, [2.9] * 8, [0.0] * 8, [0.5, 0.2])
    right = Sampled([-0.1] * 8, [-0.15] * 8, [0.05] * 8, [0.0] * 8, [0.5, 0.2])
    found = factorisation_of([wrong, right, right, right], [1.0, None, None, 0.4])
    one = 2.9
    assert found.above_bound_share == 0.25 and found.mean_excess == pytest.approx(one - 0.2)
    assert found.stated_bound == pytest.approx(0.7) and found.above_stated_share == 0.5
    for spread, counts in ((0.04, 1), (0.08, 0)):  # around 0.8, of which 12.7 standard errors are the margin
        unsure = Sampled([-0.1] * 2, [-0.1] * 2, [0.8 - spread, 0.8 + spread], [0.0] * 2, [0.5, 0.2])
        assert factorisation_of([unsure], [None]).above_bound_share == counts
    assert factorisation_of([unsure], [None]).above_stated_share is None and factorisation_of([], []) is None


@pytest.mark.parametrize(("above", "counts"), [(0.005, 0), (0.02, 1)])
def test_a_sliver_above_the_bound_does_not_count(above, counts):
    chains = Sampled([-1.0] * 3, [-1.0] * 3, [0.0] * 3, [0.8 + above] * 3, [0.4, 0.4])
    assert tightness_of([chains], 0).above_share == counts
    error = Sampled([-0.1] * 3, [-0.1] * 3, [0.4 + above] * 3, [0.0] * 3, [0.4, 0.4])
    assert factorisation_of([error], [0.4]).above_bound_share == counts


def test_tightness_is_joint_entropy_over_its_bound():
    rng = np.random.default_rng(3)
    joints = [np.array([[a, 1], [1, b]]) / (a + b + 2) for a, b in itertools.product((1, 4, 20), (1, 3, 9))]
    chains = [sampled(p, 4000, rng) for p in joints]
    exact = [float(scipy.stats.entropy(p.ravel())) for p in joints]
    bounds = [sum(own.entropies) for own in chains]
    found = tightness_of(chains, 2)
    assert found.num_states == 9 and found.num_exits == 2 and found.above_share == 0
    assert found.joint.mean == pytest.approx(np.mean(exact), abs=0.005)
    assert found.minus_log_p == pytest.approx(np.mean(exact), abs=0.02)
    assert found.ratio == pytest.approx(sum(exact) / sum(bounds), abs=0.005)
    assert found.pearson == pytest.approx(np.corrcoef(bounds, exact)[0, 1], abs=0.01)
    ranks = [scipy.stats.rankdata(values) for values in (bounds, exact)]
    assert found.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=0.05)
    same = tightness_of([chains[0]] * 3, 0)
    assert same.pearson is None and same.spearman is None and tightness_of([], 0) is None
    certain = Sampled([0.0] * 3, [0.0] * 3, [0.0] * 3, [0.0] * 3, [0.0, 0.0])
    assert tightness_of([certain], 1).ratio is None
    above = Sampled([-1.0] * 3, [-1.0] * 3, [0.0] * 3, [0.9] * 3, [0.4, 0.4])
    assert tightness_of([above, chains[0]], 0).above_share == 0.5


@dataclass(frozen=True)
class Exited:
    step: int
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    answer: tuple[int, ...]
    steps: int
    exits: tuple[Exited | None, ...]


def test_stability_counts_exits_whose_answer_before_the_end_of_text_is_another():
    rows = [
        Row((4, 0, 7), 10, (Exited(2, (4, 0, 9)), Exited(5, (4, 0, 7)))),
        Row((4, 5, 0), 10, (Exited(4, (4, 0, 0)), None)),
        Row((3, 3, 3), 20, (Exited(6, (3, 3, 3)), Exited(9, (1, 3, 3)))),
        Row((3, 3, 3), 20, (Exited(8, (3, 2, 3)), None)),
    ]
    first, second = stability_of(rows, [("entropy", 0.5), ("stable", 2)], [0])
    assert (first.num_exits, first.changed_share, first.changed_of_rows, first.steps) == (4, 0.5, 0.5, 5)
    assert (second.num_exits, second.changed_share, second.changed_of_rows) == (2, 0.5, 0.25)
    assert second.steps == pytest.approx((5 + 10 + 9 + 20) / 4)
    z = scipy.stats.norm.ppf(0.975)
    centre, half = (0.5 + z**2 / 8) / (1 + z**2 / 4), z / (1 + z**2 / 4) * math.sqrt(0.25 / 4 + z**2 / 64)
    assert (first.low, first.high) == pytest.approx((centre - half, centre + half))
    (never,) = stability_of([Row((1,), 3, (None,))], [("entropy", 0.0)], [0])
    assert (never.changed_share, never.low, never.changed_of_rows, never.steps) == (None, None, 0, 3)
    assert text_of([5, 0, 6, 0], [0, 1]) == (5,) and text_of([5, 6], [0]) == (5, 6)


def test_rules_are_compared_at_equal_passes_and_only_within_their_thresholds():
    rows = [Row((1,), 10, tuple(Exited(step, (answer,)) for step, answer in points)) for points in (
        [(2, 0), (6, 1), (1, 0), (5, 1)],
        [(2, 0), (6, 1), (1, 0), (5, 0)],
    )]  # fmt: skip
    rules = [("entropy", 1.0), ("entropy", 0.1), ("stable", 1.0), ("stable", 3.0)]
    low, high = at_equal_steps(stability_of(rows, rules, []))
    assert low == {"threshold": 1.0, "steps": 2, "entropy": 1, "stable": 1 - 0.5 / 4}
    assert high == {"threshold": 0.1, "steps": 6, "entropy": 0, "stable": None}
