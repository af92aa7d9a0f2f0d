"""Areas under the curve against counted pairs, their intervals against repeated experiments."""

import itertools
import math
import random

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lm_eval_mdlm.traces import separation
from lm_eval_mdlm.traces.separation import Separation


def counted(labels, scores):
    """Share of pairs of a right and a wrong trace in which the right one scores higher; ties count half."""
    pairs = [(a, b) for (a, x), (b, y) in itertools.product(zip(scores, labels, strict=True), repeat=2) if x and not y]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def drawn(seed, n, *, ties=False):
    rng = random.Random(seed)
    labels = [True, False, *(rng.random() < 0.4 for _ in range(n - 2))]
    scores = [rng.gauss(1.0 if label else 0.0, 1.0) for label in labels]
    return labels, [round(score) for score in scores] if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_area_is_the_share_of_pairs_in_order(seed, ties):
    labels, scores = drawn(seed, 40, ties=ties)
    found = Separation(labels, range(40)).area(scores)
    assert found.auc == pytest.approx(counted(labels, scores))
    assert found.low < found.auc < found.high


def test_infinite_scores_are_the_lowest():
    labels, scores = [True, True, False, False], [0.0, -math.inf, -1.0, -math.inf]
    assert Separation(labels, range(4)).area(scores).auc == counted(labels, scores) == 5 / 8


@pytest.mark.parametrize("at_once", [3, 1000])
def test_resamples_are_weighted_areas_of_whole_documents(monkeypatch, at_once):
    monkeypatch.setattr(separation, "PAIRS_AT_ONCE", at_once)
    labels, scores = drawn(3, 30, ties=True)
    documents = [i // 3 for i in range(30)]
    own = Separation(labels, documents)
    found = own._resampled(np.array(scores, dtype=float))
    for weights, area in list(zip(own._weights, found, strict=True))[:50]:
        assert {tuple(weights[3 * i : 3 * i + 3]) for i in range(10)} == {(w, w, w) for w in weights}
        assert weights.sum() == 30
        assert area == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


def test_interval_holds_the_true_area_about_as_often_as_it_says():
    true_area = 0.5 * (1 + math.erf(0.5))  # of normal scores one standard deviation apart
    hits = 0
    for seed in range(100):
        found = Separation(drawn(seed, 120)[0], range(120)).area(drawn(seed, 120)[1])
        hits += found.low <= true_area <= found.high
    assert 88 <= hits <= 100


def test_interval_is_wider_where_traces_belong_together():
    rng = random.Random(5)
    effects = [rng.gauss(0, 3) for _ in range(20)]
    labels = [effect > 0 for effect in effects for _ in range(10)]
    scores = [effect + rng.gauss(0, 4) for effect in effects for _ in range(10)]
    apart = Separation(labels, range(200)).area(scores)
    together = Separation(labels, [i // 10 for i in range(200)]).area(scores)
    assert apart.auc == together.auc and together.high - together.low > 1.5 * (apart.high - apart.low)


def test_one_class_has_no_area_and_an_odd_resample_does_not_spoil_it():
    assert Separation([True, True], "ab").area([1.0, 2.0]) is None
    found = Separation([True, False], "ab").area([1.0, 2.0])  # half of the resamples hold one class only
    assert (found.auc, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize("n", [2, 9, 10, 47])
def test_bins_hold_every_trace_once_in_order(n):
    labels, scores = drawn(n, n)
    bins = Separation(labels, range(n)).bins(scores)
    assert sum(one.n for one in bins) == n and len(bins) == min(n, 10)
    assert sum(one.right * one.n for one in bins) == pytest.approx(sum(labels))
    assert all(one.highest <= other.lowest for one, other in itertools.pairwise(bins))
    assert sum(one.probability * one.n for one in bins) == pytest.approx(sum(math.exp(score) for score in scores))
