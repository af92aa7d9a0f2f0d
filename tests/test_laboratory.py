"""The laboratory of samplers: its posteriors are exact, its laws are the engine's, and its bounds can fail."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.laboratory import __main__ as script
from benchmarks.laboratory.backbone import ExactBackbone
from benchmarks.laboratory.factorisation import BoundExceeded, Factorisation, factorisation, listed_entropy
from benchmarks.laboratory.joint import Joint, chain, copies
from benchmarks.laboratory.law import law
from benchmarks.laboratory.measures import Sizes, estimated, exactly, hold_against, ids_of, listed, noise_floor, sampled
from benchmarks.laboratory.settings import GRIDS, Grid, config_of
from lm_eval_mdlm.decoding.policies import EntropyBound, FixedK, MultiTokenEntropy
from lm_eval_mdlm.options.samplers import SAMPLERS, SCORES
from lm_eval_mdlm.traces.plot import can_plot


JOINTS = {"chain": chain(vocab_size=3, length=5, seed=1), "copies": copies(vocab_size=3, length=4, seed=1)}
NUMBER = 400
"""Of texts that the engine draws."""
GREEDY_ORDERS = [{"sampler": "fixed_k", "score": score} for score in SCORES]


@pytest.fixture(params=JOINTS)
def joint(request) -> Joint:
    return JOINTS[request.param]


def table_of(joint: Joint) -> np.ndarray:
    """Of all texts, by the definition of a chain: every way through its states, one product after the other."""
    table = np.zeros((joint.vocab_size,) * joint.length)
    num_states = len(joint.initial)
    for way in itertools.product(range(num_states), repeat=len(joint.places)):
        text = [0] * joint.length
        for places, state in zip(joint.places.tolist(), way, strict=True):
            for place, symbol in zip(places, joint.symbols[state].tolist(), strict=True):
                text[place] = symbol
        chances = [joint.initial[way[0]], *(t[a, b] for t, a, b in zip(joint.transitions, way, way[1:], strict=False))]
        table[tuple(text)] += math.prod(float(chance) for chance in chances)
    return table


def test_posteriors_are_those_of_the_listed_texts(joint):
    table, mask = table_of(joint), joint.vocab_size
    assert table.sum() == pytest.approx(1)
    assert joint.probabilities.numpy() == pytest.approx(table.reshape(-1), rel=1e-9)
    generator = np.random.default_rng(0)
    backbone = ExactBackbone(joint)
    canvases = [generator.integers(0, mask + 1, joint.length) for _ in range(40)] + [np.full(joint.length, mask)]
    prompts = [[0] * int(length) for length in generator.integers(1, 5, len(canvases))]
    read = backbone.logits([torch.tensor([*p, *c]) for p, c in zip(prompts, canvases, strict=True)])
    for prompt, canvas, logits in zip(prompts, canvases, read, strict=True):
        given = np.zeros_like(table)
        seen = tuple(slice(None) if token == mask else int(token) for token in canvas)
        given[seen] = table[seen]
        for place in range(joint.length):
            other = tuple(axis for axis in range(joint.length) if axis != place)
            expected = given.sum(axis=other) / given.sum()
            assert logits[len(prompt) + place, :-1].softmax(-1).numpy() == pytest.approx(expected, abs=1e-6)
    assert all(torch.isneginf(logits[len(p) :, mask]).all() for p, logits in zip(prompts, read, strict=True))


def test_a_copy_repeats_its_source_or_the_symbol_before_and_knows_of_nothing_else():
    size = 3
    table = table_of(copies(vocab_size=size, length=6))
    source = chain(vocab_size=size, length=3)
    assert table.sum(axis=(3, 4, 5)).reshape(-1) == pytest.approx(source.probabilities.numpy())
    # P(copy 1 | its source, the symbol before, all other symbols)
    given = np.moveaxis(table / table.sum(axis=4, keepdims=True), 4, -1)
    same = np.eye(size)
    kept = given[0, 1, 0, 0, 0, 1] - given[0, 1, 0, 0, 0, 2]  # what is neither source nor symbol before has left / V
    left = (1 - kept) / 2
    assert 0.7 <= kept <= 1
    for before, own in itertools.product(range(size), repeat=2):
        expected = kept * same[own] + left * same[before] + left / size
        found = given[before, own].reshape(-1, size)
        assert found == pytest.approx(np.broadcast_to(expected, found.shape))


def test_texts_of_the_truth_follow_it(joint):
    drawn = joint.sample(4000, torch.Generator().manual_seed(0))
    assert p_value(joint, drawn, joint.probabilities) > 0.001


def p_value(joint: Joint, drawn: torch.Tensor, expected: torch.Tensor) -> float:
    """Of Pearson's test, rare texts pooled."""
    counts = torch.bincount(ids_of(joint, drawn), minlength=len(expected)).double()
    wanted = expected / expected.sum() * len(drawn)
    often = wanted >= 5
    pooled = [torch.cat([values[often], values[~often].sum()[None]]).numpy() for values in (counts, wanted)]
    assert len(pooled[0]) > 8
    return stats.chisquare(*pooled).pvalue


@pytest.mark.parametrize("options", GREEDY_ORDERS, ids=lambda options: options["score"])
def test_one_token_a_step_is_exact_in_every_order(joint, options):
    config = config_of({**options, "k": 1}, joint.length)
    found = exactly(joint, law(ExactBackbone(joint), config, joint.texts))
    assert found == pytest.approx({"NFE": joint.length, "TV": 0, "KL": 0, "reverse KL": 0}, abs=1e-5)


def test_drawn_texts_of_one_token_a_step_follow_the_truth(joint):
    drawn, nfe = sampled(ExactBackbone(joint), config_of({"k": 1}, joint.length), NUMBER)
    assert nfe == joint.length
    assert p_value(joint, drawn, joint.probabilities) > 0.001


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "fixed_k", "k": 3},
        {"sampler": "med", "entropy_threshold": 1.05},
        {"sampler": "confidence_threshold", "confidence_threshold": 0.45, "block_length": 4},
    ],
    ids=lambda options: options["sampler"],
)
def test_drawn_texts_follow_the_law_that_is_calculated_and_not_the_truth(joint, options):
    config = config_of(options, joint.length)
    found = law(ExactBackbone(joint), config, joint.texts)
    q = found.log_prob.exp()
    assert float(q.sum()) == pytest.approx(1, abs=1e-5)
    drawn, nfe = sampled(ExactBackbone(joint), config, NUMBER)
    assert p_value(joint, drawn, q) > 0.001 > p_value(joint, drawn, joint.probabilities)
    assert nfe == pytest.approx(float((q * found.nfe).sum()), abs=5 * joint.length / NUMBER**0.5)


@pytest.mark.parametrize("grid", ["med", "entropy_bound", "k, confidence"])
def test_errors_of_steps_keep_their_bounds_and_add_up_to_the_divergence_of_the_texts(joint, grid):
    for options in GRIDS[grid].settings:
        config = config_of(options, joint.length)
        found = law(ExactBackbone(joint), config, joint.texts)
        steps = factorisation(joint, found.canvases, found.chosen)
        steps.check(config.policy(), "here")
        reached = [float(joint.probabilities[own].sum()) for own in found.through]
        assert np.dot(reached, steps.error) == pytest.approx(exactly(joint, found)["KL"], abs=1e-5)


def test_a_bound_that_is_exceeded_is_an_error():
    def steps(error: float, bound: float, size: int = 2) -> Factorisation:
        return Factorisation(np.array([1, size]), np.array([0.0, error]), np.array([0.0, bound]))

    steps(0.29, 0.3).check(FixedK(), "here")
    with pytest.raises(BoundExceeded, match="0.31 nats is above the sum of entropies less the largest, 0.3"):
        steps(0.31, 0.3).check(FixedK(), "here")
    with pytest.raises(BoundExceeded):
        steps(math.nan, 0.3).check(FixedK(), "here")
    steps(0.29, 0.3).check(MultiTokenEntropy(0.15), "here")
    with pytest.raises(BoundExceeded, match="entropy_threshold times positions, 0.28"):
        steps(0.29, 0.3).check(MultiTokenEntropy(0.14), "here")
    steps(0.1, 0.2).check(EntropyBound(0.2), "here")
    with pytest.raises(BoundExceeded, match="0.2 nats is above the entropy_bound, 0.19"):
        steps(0.1, 0.2).check(EntropyBound(0.19), "here")


def test_entropies_of_subsets_of_a_chain_are_those_of_the_listed_texts():
    joint = JOINTS["chain"]
    canvases = torch.tensor(list(itertools.product(range(4), repeat=5)))[::7]
    chosen = (canvases == 3) & (torch.rand(canvases.shape, generator=torch.Generator().manual_seed(0)) < 0.7)
    expected = listed_entropy(joint, canvases, chosen)
    assert joint.joint_entropy(canvases, chosen).numpy() == pytest.approx(expected.numpy(), abs=1e-9)
    assert expected.max() > 1


def test_estimates_agree_with_what_listed_texts_give(joint):
    options, sizes = {"sampler": "fixed_k", "k": 3}, Sizes(samples=10, long_texts=300, keys=1)
    exact = listed(joint, Grid([options]), options, sizes)
    found = estimated(joint, Grid([options]), options, sizes)
    for name in ("TV", "KL", "reverse KL"):
        assert abs(found[name] - exact[name]) < 4 * found[f"{name} s.e."] + 1e-6
        assert found[f"{name} s.e."] < 0.4 * exact[name]


def test_texts_that_do_not_follow_the_calculated_law_are_an_error():
    law_of_texts = torch.tensor([0.5, 0.25, 0.2, 0.05 - 1e-9, 1e-9], dtype=torch.float64)
    hold_against(torch.tensor([210, 90, 80, 20, 0]), law_of_texts, "here")
    for counts in ([100, 200, 80, 20, 0], [200, 100, 70, 20, 10], [0, 400, 0, 0, 0]):
        with pytest.raises(RuntimeError, match="here: drawn texts do not follow"):
            hold_against(torch.tensor(counts), law_of_texts, "here")


def test_the_noise_floor_is_what_exact_draws_must_be_off_by(joint):
    # The mean absolute deviation of a share is sqrt(2 / pi) of its standard deviation.
    p, number = joint.probabilities, 5000
    deviations = (2 * p * (1 - p) / (math.pi * number)).sqrt()
    floor = noise_floor(joint, number)
    assert floor["TV"] == pytest.approx(float(deviations.sum() / 2), rel=0.1)
    assert 0 < floor["TV s.d."] < floor["TV"] and 0 < floor["reverse KL"] <= len(p) / number


def test_orders_that_are_drawn_bound_the_texts_from_above_and_other_rules_have_samples_alone():
    joint, sizes = JOINTS["chain"], Sizes(samples=50, long_texts=20, keys=3)
    options = {"sampler": "fixed_k", "score": "random", "k": 2}
    noisy = listed(joint, Grid([options]), options, sizes)
    q = torch.stack(
        [law(ExactBackbone(joint), config_of(options, 5), joint.texts, key).log_prob.exp() for key in range(3)]
    )
    assert noisy["law of"] == "paths"
    assert noisy["TV"] > float((q.mean(0) - joint.probabilities).abs().sum() / 2)
    for measure in (listed, estimated):
        known = measure(joint, Grid([options], looks_at_tokens=True), options, sizes)
        assert known["law of"] == "samples" and known["NFE"] == 3 and "KL" not in known


def test_every_sampler_is_in_the_laboratory_at_five_settings_or_more():
    assert {options["sampler"] for grid in GRIDS.values() for options in grid.settings} == set(SAMPLERS)
    for grid in GRIDS.values():
        assert len({str(options) for options in grid.settings}) == len(grid.settings) >= 5


def test_the_script_writes_a_line_for_each_setting_and_joint(tmp_path):
    sizes = ["--length", "4", "--long-length", "6", "--samples", "9", "--long-samples", "9"]
    script.main([*sizes, "--samplers", "steps, confidence", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "laboratory.json").read_text())["rows"]
    joints = ["chain of 4", "chain of 6", "copies of 4", "copies of 6"]
    assert [row["joint"] for row in rows] == [joint for joint in joints for _ in GRIDS["steps, confidence"].settings]
    assert [row["NFE"] for row in rows if row["joint"] == "copies of 6"] == [1, 2, 3, 5, 6, 6, 6, 6]
    for row in rows:
        assert (abs(row["KL"]) < 1e-5) == (row["NFE"] == int(row["joint"][-1]))  # one token a step, or not
    compared = json.loads((tmp_path / "laboratory_at_equal_nfe.json").read_text())["rows"]
    assert [row["joint"] for row in compared] == joints
    assert (tmp_path / "laboratory.png").exists() == can_plot()


def test_samplers_are_compared_between_their_nearest_settings():
    lines = [{"joint": "j", "sampler": "s", "NFE": nfe, "KL": kl} for nfe, kl in [(6, 1.0), (2, 5.0), (2, 3.0), (8, 0)]]
    (found,) = script.at_equal_passes([*lines, {"joint": "j", "sampler": "s", "NFE": 1}], 8)
    assert list(found.values())[2:] == [3.0, 2.0, 1.0]
    assert list(script.at_equal_passes(lines, 80)[0].values())[2:] == [None] * 3
