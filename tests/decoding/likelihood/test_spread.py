"""The standard error against the spread of many estimates, against a known variance, and by what must not change it."""

import math

import numpy as np
import pytest

from lm_eval_mdlm.decoding.likelihood.balance import balanced_sets, stratified_sizes
from lm_eval_mdlm.decoding.likelihood.spread import standard_error
from tests.decoding.likelihood.tables import key


def drawn(length: int, count: int, number: int) -> np.ndarray:
    generator = key(number).generator("test")
    return balanced_sets(length, stratified_sizes(length, generator.random(), count), generator)


def estimate(sets: np.ndarray, values: np.ndarray) -> float:
    return float(sets.shape[1] * ((sets * values).sum(1) / sets.sum(1)).mean())


def calibration(values_of, length: int, count: int, repeats: int, first: int | None = None) -> float:
    """Mean squared standard error over the variance that is seen."""
    squared, found = [], []
    for number in range(repeats):
        sets = drawn(length, count, number)[:first]
        values = values_of(sets) * sets
        squared.append(standard_error(sets, values) ** 2)
        found.append(estimate(sets, values))
    return float(np.mean(squared) / np.var(found, ddof=1))


def causes(length: int) -> dict:
    """Log-probabilities with one kind of cause each."""
    generator = np.random.default_rng(2)
    position = -generator.exponential(1.5, length)
    pair = generator.normal(0, 1, (length, length)) / math.sqrt(length)
    np.fill_diagonal(pair, 0)
    return {
        "position": lambda sets: position + 0 * sets,
        "size": lambda sets: -4 * np.exp(sets.mean(1, keepdims=True)) + 0 * sets,
        "position times size": lambda sets: position * (0.2 + sets.mean(1, keepdims=True)),
        "pair": lambda sets: sets @ pair.T,
    }


LARGEST = {"pair": 2.4}  # effects of pairs are told from noise only in part, and noise is what the sets cannot even out


@pytest.mark.parametrize("kind", list(causes(4)))
def test_it_is_the_spread_of_many_estimates(kind):
    assert 0.6 < calibration(causes(20)[kind], 20, 16, 120) < LARGEST.get(kind, 1.5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(causes(4)))
@pytest.mark.parametrize(("length", "count", "first"), [(10, 32, 32), (20, 128, 128), (20, 128, 32), (60, 32, 32)])
def test_it_is_the_spread_of_many_estimates_and_beginnings(kind, length, count, first):
    assert 0.75 < calibration(causes(length)[kind], length, count, 400, first) < LARGEST.get(kind, 1.3)


@pytest.mark.parametrize(("length", "count"), [(30, 128), (60, 16)])
def test_of_noise_alone_it_is_the_root_of_summed_squared_weights(length, count):
    generator, squared, known = np.random.default_rng(0), [], []
    for number in range(60):
        sets = drawn(length, count, number)
        squared.append(standard_error(sets, generator.normal(-3, 0.5, sets.shape) * sets) ** 2)
        known.append(0.25 * (length**2 / sets.sum(1) / count**2).sum())
    assert np.mean(squared) == pytest.approx(np.mean(known), rel=0.2)


def test_even_cover_of_positions_leaves_no_error():
    sets = np.array([[True, False], [False, True], [True, True], [True, True]] * 4)
    assert standard_error(sets, np.array([-1.0, -7.0]) * sets) == pytest.approx(0, abs=1e-6)


def test_names_of_positions_and_order_of_samples_do_not_matter_and_units_scale():
    sets = drawn(7, 24, 0)
    values = np.random.default_rng(1).normal(0, 1, sets.shape) * sets
    found = standard_error(sets, values)
    assert found > 0
    assert standard_error(sets[:, ::-1], values[:, ::-1]) == pytest.approx(found)
    assert standard_error(sets, 3 * values) == pytest.approx(3 * found)
    assert standard_error(sets, values - 100.0 * sets) == pytest.approx(found)


def test_few_samples_count_as_independent():
    sets = np.eye(4, dtype=bool)
    assert standard_error(sets, np.diag([1.0, 2.0, 3.0, 4.0])) == pytest.approx(np.std([4, 8, 12, 16], ddof=1) / 2)
    assert standard_error(sets[:1], np.ones((1, 4)) * sets[:1]) == math.inf
