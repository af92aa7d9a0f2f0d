"""The bound against the mean chain rule over all orders; its estimate against that bound."""

import math

import numpy as np
import pytest

from lm_eval_mdlm.decoding.likelihood.elbo import Elbo
from lm_eval_mdlm.decoding.likelihood.estimator import weighted_sum
from tests.decoding.likelihood.tables import RandomTable, content, estimated, key


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_the_exact_form_is_the_mean_over_all_orders(length):
    table, estimator = RandomTable(length, 1), Elbo(mc_num=2**length - 1)
    found = estimated(estimator, table, 0)
    assert found.value == pytest.approx(table.mean_over_orders(), abs=1e-6)
    assert found.standard_error == 0
    assert len(estimator.maskings(length, key(0))) == estimator.num_passes(length) == 2**length - 1
    assert estimator.rounds(length) == [2**length - 1]


def test_it_is_exact_while_all_sets_are_within_the_passes():
    assert [Elbo(mc_num=31).is_exact(length) for length in (4, 5, 6, 4000)] == [True, True, False, False]
    assert not Elbo(mc_num=30).is_exact(5)


@pytest.mark.parametrize(("length", "count"), [(4, 3), (6, 32)])
def test_the_estimate_and_that_of_its_beginning_are_unbiased(length, count):
    # One key per table, so that errors are independent; each is compared with its own table's exact value.
    estimator = Elbo(mc_num=count)
    errors = {first: [] for first in {1, *estimator.rounds(length)}}
    for number in range(200):
        table = RandomTable(length, number)
        exact = estimated(Elbo(mc_num=2**length), table, 0).value
        for first, found in errors.items():
            found.append(estimated(estimator, table, number, first).value - exact)
    for found in errors.values():
        assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(len(found))


def test_a_set_that_comes_again_is_not_run_again_and_counts_again():
    length, estimator, table = 5, Elbo(mc_num=30), RandomTable(5, 2)
    maskings = estimator.maskings(length, key(3))
    run = [tuple(one.masked.tolist()) for one in maskings if len(one.scored)]
    assert len(run) == len(set(run)) < len(maskings) == 30
    for first in (30, 16):
        found = estimated(estimator, table, 3, first)
        every = [table.of_set[tuple(one.masked.tolist())][one.masked].mean() for one in maskings[:first]]
        assert found.value == pytest.approx(length * np.mean(every, dtype=np.float64), abs=1e-5)
    whole = weighted_sum(maskings, [table(one) for one in maskings])
    assert estimated(estimator, table, 3).value == pytest.approx(whole, abs=1e-9)


def test_maskings_depend_on_the_key_alone():
    estimator = Elbo(mc_num=16)
    assert content(estimator.maskings(9, key(1))) == content(estimator.maskings(9, key(1)))
    assert content(estimator.maskings(9, key(1))) != content(estimator.maskings(9, key(2)))


def test_rounds_are_eighths_of_sixteen_passes_or_more():
    assert Elbo(mc_num=128).rounds(20) == [16, 32, 48, 64, 80, 96, 112, 128]
    assert Elbo(mc_num=256).rounds(20) == [32, 64, 96, 128, 160, 192, 224, 256]
    assert Elbo(mc_num=40).rounds(20) == [16, 32, 40]
    assert Elbo(mc_num=5).rounds(20) == [5]


def test_one_sample_has_no_standard_error_and_an_impossible_token_no_finite_one():
    table = RandomTable(3, 0)
    assert estimated(Elbo(mc_num=1), table, 0).standard_error == math.inf
    estimator = Elbo(mc_num=16)
    maskings = estimator.maskings(6, key(0))
    found = estimator.estimate(6, maskings, [np.full(len(one.scored), -np.inf, np.float32) for one in maskings])
    assert found.value == -math.inf and found.standard_error == math.inf
