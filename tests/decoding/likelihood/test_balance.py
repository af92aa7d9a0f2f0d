"""Sizes by enumeration of their random start; single sets by counting; cover by the variance it leaves."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from lm_eval_mdlm.decoding.likelihood import balance
from lm_eval_mdlm.decoding.likelihood.balance import balanced_sets, stratified_sizes
from tests.decoding.likelihood.tables import key


@pytest.mark.parametrize("count", [1, 2, 3, 8, 12, 31])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 21])
def test_every_size_is_equally_likely_in_every_sample(length, count):
    # Sizes change where start + i / n is a multiple of 1 / L: between two such points one start stands for all.
    cells = math.lcm(length, count)
    drawn = np.stack([stratified_sizes(length, (cell + 0.5) / cells, count) for cell in range(cells)])
    for sample in drawn.T:
        assert Counter(sample.tolist()) == {size: cells // length for size in range(1, length + 1)}


def test_the_largest_start_stays_within_the_sizes():
    assert stratified_sizes(3, float(np.nextafter(1.0, 0.0)), 1).tolist() == [3]


@pytest.mark.parametrize("first", [16, 32, 64, 128])
@pytest.mark.parametrize("start", [0.0, 0.13, 0.97])
def test_every_beginning_by_halves_meets_every_size_equally_often(first, start):
    counts = np.bincount(stratified_sizes(10, start, 128)[:first], minlength=11)[1:]
    assert set(counts) <= {first // 10, first // 10 + 1}


@pytest.mark.parametrize("most_balanced", [256, 4])
@pytest.mark.parametrize("sample", [0, 3, 5, 6])
def test_every_set_of_a_size_is_equally_likely_in_every_sample(sample, most_balanced, monkeypatch):
    monkeypatch.setattr(balance, "MOST_BALANCED", most_balanced)  # longer texts than that have independent sets
    length, sizes, repeats = 5, np.array([2, 4, 1, 2, 5, 3, 4, 3]), 1000
    counts = Counter()
    for number in range(repeats):
        chosen = balanced_sets(length, sizes, key(number).generator("test"))
        assert (chosen.sum(1) == sizes).all()
        counts[tuple(np.flatnonzero(chosen[sample]).tolist())] += 1
    possible = list(itertools.combinations(range(length), int(sizes[sample])))
    expected = repeats / len(possible)
    chi_square = sum((counts[one] - expected) ** 2 for one in possible) / expected
    freedom = len(possible) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def spread_of_sum(values_of, length: int, count: int, sets_of) -> float:
    generator, found = np.random.default_rng(5), []
    for number in range(80):
        sizes = stratified_sizes(length, generator.random(), count)
        chosen = sets_of(length, sizes, key(number).generator("test"))
        found.append((length * (chosen * values_of(chosen)).sum(1) / sizes).mean())
    return float(np.var(found))


def independent_sets(length, sizes, generator):
    return np.argsort(np.argsort(generator.random((len(sizes), length))), axis=1) < sizes[:, None]


@pytest.mark.parametrize("length", [8, 20])
@pytest.mark.parametrize(("kind", "share"), [("position", 0.05), ("pair", 0.35)])
def test_effects_of_positions_and_pairs_hardly_spread(length, kind, share):
    generator = np.random.default_rng(1)
    position, pair = generator.normal(0, 1, length), generator.normal(0, 1, (length, length))
    np.fill_diagonal(pair, 0)
    values = {"position": lambda sets: position + 0 * sets, "pair": lambda sets: sets @ pair.T}[kind]
    balanced, independent = (spread_of_sum(values, length, 64, way) for way in (balanced_sets, independent_sets))
    assert balanced < share * independent
