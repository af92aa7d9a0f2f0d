"""Every estimate end to end, against the network asked one canvas at a time."""

import itertools
import math

import numpy as np
import pytest
import torch

from lm_eval_mdlm.decoding.likelihood.published import PublishedDream, PublishedLLaDA
from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.options.likelihood import LIKELIHOODS
from lm_eval_mdlm.running.likelihood import loglikelihood
from tests.slow import Slow
from tests.toy import RandomBackbone, TableBackbone


CONTEXT, TEXT, END = [4, 0, 2], [1, 3, 3, 0], 5


def network(**options) -> RandomBackbone:
    """Six tokens, one of which ends texts, and the mask."""
    return RandomBackbone(vocab_size=7, end_token_ids=(END,), **options)


def oracle(backbone: RandomBackbone, cfg_scale: float = 0.0) -> Slow:
    """Distributions over the full vocabulary, mask token included."""
    return Slow(backbone.logits_of, backbone.mask_token_id, cfg_scale=cfg_scale)


@pytest.mark.parametrize("cfg_scale", [0.0, 1.5])
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_exact_bound_is_the_mean_chain_rule_over_all_orders(length, cfg_scale):
    backbone = network()
    (found,) = loglikelihood(backbone, [(CONTEXT, TEXT[:length])], mc_num=2**length - 1, cfg_scale=cfg_scale)
    expected = oracle(backbone, cfg_scale).mean_over_orders(CONTEXT, TEXT[:length])
    assert found.log_prob == pytest.approx(expected, abs=1e-5)
    sides = 2 if cfg_scale else 1
    assert (found.nfe, found.standard_error) == (sides * (2**length - 1), 0.0)
    assert sum(map(len, backbone.passes)) == found.nfe


@pytest.mark.parametrize("cfg_scale", [0.0, 1.5])
def test_chain_rules_read_one_token_after_the_other(cfg_scale):
    backbone = network()
    one_by_one = oracle(backbone, cfg_scale)
    for likelihood, order in (("l2r", range(4)), ("r2l", range(3, -1, -1))):
        (found,) = loglikelihood(backbone, [(CONTEXT, TEXT)], likelihood=likelihood, cfg_scale=cfg_scale)
        expected = one_by_one.chain_rule(CONTEXT, TEXT, list(order))
        assert found.log_prob == pytest.approx(expected, abs=1e-5)
        assert (found.nfe, found.standard_error) == (8 if cfg_scale else 4, 0.0)


def test_orders_disagree_on_these_networks_and_agree_on_a_joint():
    exact = {"l2r": {}, "r2l": {}, "elbo": {}, "path": {"sampler": "med"}}
    disagreeing = network()
    joint = np.random.default_rng(0).dirichlet(np.full(3**3, 0.3)).reshape(3, 3, 3)
    agreeing = TableBackbone(torch.tensor(joint))
    found = {
        backbone: [
            loglikelihood(backbone, [([1], [2, 0, 1])], likelihood=name, **options)[0].log_prob
            for name, options in exact.items()
        ]
        for backbone in (disagreeing, agreeing)
    }
    assert len({round(value, 2) for value in found[disagreeing]}) == 4
    # One token per pass is exact under every order; so is every order of the bound. `path` commits several at once.
    assert found[agreeing][:3] == pytest.approx([math.log(joint[2, 0, 1])] * 3, abs=1e-4)


ESTIMATORS = {
    "llada": (PublishedLLaDA(mc_num=16, mc_batch=4), {"mc_num": 16, "mc_batch": 4}),
    "dream": (PublishedDream(mc_num=32, mc_batch=8), {"mc_num": 32, "mc_batch": 8}),
}


@pytest.mark.parametrize("cfg_scale", [0.0, 0.5])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_published_estimates_are_weighted_sums_over_their_masks(name, cfg_scale):
    estimator, options = ESTIMATORS[name]
    backbone, length = network(), 9
    text = [(3 * i) % 5 for i in range(length)]
    (found,) = loglikelihood(backbone, [(CONTEXT, text)], likelihood=name, seed=3, cfg_scale=cfg_scale, **options)
    maskings = estimator.maskings(length, RowKey.of(3, CONTEXT, text, 0))
    behind = [END] if name == "dream" else []
    reader = oracle(backbone, cfg_scale)
    sums = [
        one.weight * math.fsum(reader.given_the_rest(CONTEXT, text, one.masked.tolist(), behind).values())
        for one in maskings
    ]
    assert found.log_prob == pytest.approx(math.fsum(sums), abs=1e-4)
    assert found.nfe == (2 if cfg_scale else 1) * sum(len(one.masked) > 0 for one in maskings)
    rounds = np.array(sums).reshape(-1, options["mc_batch"]).sum(1) * (len(sums) // options["mc_batch"])
    assert found.standard_error == pytest.approx(rounds.std(ddof=1) / math.sqrt(len(rounds)), rel=1e-3)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_nothing_stands_behind_the_text_but_dream_s_visible_end(likelihood):
    backbone = network()
    options = {"mc_num": 64} if likelihood in ("elbo", "llada", "dream") else {}
    loglikelihood(backbone, [(CONTEXT, TEXT)], likelihood=likelihood, greedy=likelihood == "path", **options)
    behind = (END,) if likelihood == "dream" else ()
    for canvas in backbone.canvases:
        assert canvas[:3] == tuple(CONTEXT) and canvas[7:] == behind
        assert all(seen in (token, 6) for seen, token in zip(canvas[3:7], TEXT, strict=True))
        assert 6 in canvas


def test_dream_s_passes_that_hide_nothing_are_not_run():
    backbone = network()
    (found,) = loglikelihood(backbone, [(CONTEXT, TEXT[:1])], likelihood="dream", mc_num=64)
    assert 10 < found.nfe < 50  # about half of the 64
    assert set(backbone.canvases) == {(*CONTEXT, 6, END)}


def mean_by_size(backbone: RandomBackbone, text: list[int], behind: list[int]) -> list[float]:
    """For each number of masked positions the mean over sets of the summed log-probability, by enumeration."""
    reader, length = oracle(backbone), len(text)
    return [
        np.mean([math.fsum(reader.given_the_rest([0], text, s, behind).values()) for s in sets])
        for sets in (list(itertools.combinations(range(length), x)) for x in range(1, length + 1))
    ]


def dream_weight(length: int, x: int) -> float:
    """Of the mean over sets of x positions: integral of C(L, x) p**x (1 - p)**(L - x) / p over its rates."""
    rates = 1e-3 + (1 - 1e-3) * (np.arange(20000) + 0.5) / 20000
    return float((math.comb(length, x) * rates ** (x - 1) * (1 - rates) ** (length - x)).mean())


EXPECTED_WEIGHTS = {
    "elbo": ({"mc_num": 16}, lambda length, x: 1 / x),
    "elbo alone": ({"likelihood": "elbo", "mc_num": 1}, lambda length, x: 1 / x),
    "llada": ({"likelihood": "llada", "mc_num": 16, "mc_batch": 5}, lambda length, x: 1 / x),
    "llada unstratified": ({"likelihood": "llada", "mc_num": 4, "mc_batch": 1}, lambda length, x: 1 / x),
    "dream": ({"likelihood": "dream", "mc_num": 16, "mc_batch": 4}, dream_weight),
}


@pytest.mark.parametrize("name", EXPECTED_WEIGHTS)
def test_estimates_scatter_around_what_enumeration_gives(name):
    options, weight = EXPECTED_WEIGHTS[name]
    options = {**options, "mc_num": 15} if options.get("mc_batch") == 5 else options
    text = [1, 3, 3, 0, 2]
    behind = [END] if name == "dream" else []
    backbone = network(seen=5 + len(behind))  # blind to the context, which only seeds the draws
    by_size = mean_by_size(backbone, text, behind)
    exact = math.fsum(weight(5, x) * mean for x, mean in enumerate(by_size, 1))
    pairs = [([i % 6, i // 6 % 6, i // 36], text) for i in range(216)]
    scores = loglikelihood(backbone, pairs, **options)
    values = np.array([score.log_prob for score in scores])
    assert len(set(values.tolist())) > 20
    assert abs(values.mean() - exact) < 3 * values.std(ddof=1) / math.sqrt(len(values))
    errors = [score.standard_error for score in scores]
    if options["mc_num"] == 1:
        assert errors == [None] * len(errors)
    elif name != "llada unstratified":  # four samples tell little
        assert 0.7 < math.sqrt(np.mean(np.square(errors))) / values.std(ddof=1) < 1.6


def test_the_published_bias_is_kept():
    # With four tokens and eight samples a round, sizes come 1/2, 3/2, 1/2 and 3/2 times as often as they should.
    backbone = network(seen=4)
    by_size = mean_by_size(backbone, TEXT, [])
    biased = math.fsum(share * mean / x for x, (share, mean) in enumerate(zip((0.5, 1.5) * 2, by_size, strict=True), 1))
    unbiased = math.fsum(mean / x for x, mean in enumerate(by_size, 1))
    pairs = [([i % 6, i // 6 % 6, i // 36], TEXT) for i in range(216)]
    values = np.array([s.log_prob for s in loglikelihood(backbone, pairs, likelihood="llada", mc_num=8)])
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert abs(values.mean() - biased) < 3 * error < abs(values.mean() - unbiased)


class Never(RandomBackbone):
    """Gives token 3 no chance."""

    def logits_of(self, canvas):
        return super().logits_of(canvas).index_fill(1, torch.tensor([3]), -math.inf)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("mc_num", [8, 64])
def test_an_impossible_text_is_impossible_under_every_estimate(likelihood, mc_num):
    options = {"llada": {"mc_batch": 4}, "dream": {"mc_batch": 4}}.get(likelihood, {})
    if likelihood in ("elbo", "llada", "dream"):
        options["mc_num"] = mc_num
    backbone = Never(vocab_size=7, end_token_ids=(END,))
    (found,) = loglikelihood(backbone, [(CONTEXT, [1, 3, 2, 0, 3])], likelihood=likelihood, greedy=True, **options)
    assert (found.log_prob, found.is_greedy) == (-math.inf, False)
    exact = likelihood in ("l2r", "r2l", "path") or (likelihood, mc_num) == ("elbo", 64)
    assert found.standard_error == (0.0 if exact else None)
