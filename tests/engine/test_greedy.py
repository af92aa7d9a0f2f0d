"""Whether greedy decoding gives a text: for every sampler, against the slow decoder and against `generate`."""

import itertools

import pytest

from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from tests.engine.test_path import CONTEXT, WAYS, blocks_of, slow, small
from tests.toy import RandomBackbone


DRAWN = [{"sampler": "fixed_k", "k": 2, "score": "random"}, {"sampler": "fixed_k", "steps": 6, "score": "random"}]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_only_the_sampler_s_own_text_is_greedy_and_others_end_at_their_first_difference(way):
    backbone = small()
    texts = list(itertools.product(range(3), repeat=3))
    for extra in (blocks_of(way, 2), {"cfg_scale": 0.7}):
        options = {**way, **extra}
        decoded = slow(backbone, **extra).decode(CONTEXT, 3, options)
        backbone.passes.clear()
        pairs = [(CONTEXT, text) for text in texts]
        scores = loglikelihood(backbone, pairs, greedy=True, likelihood="r2l", **options)
        chain = 6 if "cfg_scale" in extra else 3
        assert [score.is_greedy for score in scores] == [list(text) == decoded.tokens for text in texts]
        assert [score.nfe - chain for score in scores] == [decoded.passes_until_unlike(text) for text in texts]
        assert sum(map(len, backbone.passes)) == sum(score.nfe for score in scores)


@pytest.mark.parametrize("way", DRAWN, ids=str)
def test_an_order_that_is_drawn_is_drawn_as_in_generation(way):
    backbone = RandomBackbone(vocab_size=30, scale=3.0)
    contexts = [[i, 2 * i, 5] for i in range(12)]
    for seed in (None, 3):
        options = {**way, "seed": seed}
        written = generate(backbone, contexts, gen_length=8, **options)
        pairs = [(context, row.token_ids) for context, row in zip(contexts, written, strict=True)]
        scores = loglikelihood(backbone, pairs, greedy=True, mc_num=1, **options)
        assert all(score.is_greedy for score in scores)
        assert [score.nfe for score in scores] == [1 + row.nfe for row in written]
    # Tokens depend on the order here, so that another seed writes other texts.
    scores = loglikelihood(backbone, pairs, greedy=True, mc_num=1, **{**way, "seed": 4})
    assert not all(score.is_greedy for score in scores)


OTHER_LOOPS = [
    {"sampler": "remdm", "remdm_loops": 4},
    {"sampler": "dus", "block_length": 8, "remask_below": 0.9},
    {"sampler": "slow_fast", "confidence_threshold": 0.5},
    {"sampler": "sliding_block", "block_length": 3, "min_distance": 1.0},
    {"sampler": "med", "entropy_threshold": 2.0, "defer_end_of_text": True},
    {"sampler": "dream", "steps": 4, "top_p": 0.5},
    {"sampler": "dream", "steps": 4, "alg": "maskgit_plus", "top_k": 2},
]


@pytest.mark.parametrize("way", OTHER_LOOPS, ids=str)
def test_loops_that_revise_pause_or_hold_back_give_their_own_text_only(way):
    backbone = RandomBackbone(vocab_size=30, scale=3.0, end_token_ids=(3, 4, 5, 6))
    contexts = [[i, 2 * i, 5] for i in range(6)]
    written = generate(backbone, contexts, gen_length=8, **way)
    pairs = [(context, row.token_ids) for context, row in zip(contexts, written, strict=True)]
    scores = loglikelihood(backbone, pairs, greedy=True, mc_num=1, **way)
    assert [(score.is_greedy, score.nfe) for score in scores] == [(True, 1 + row.nfe) for row in written]
    others = [(context, [*text[:3], (text[3] + 1) % 29, *text[4:]]) for context, text in pairs]
    scores = loglikelihood(backbone, others, greedy=True, mc_num=1, **way)
    assert not any(score.is_greedy for score in scores)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 3.0},
        {"temperature": 1.0, "top_k": 3, "min_p": 0.01},
        {"stop_when_settled": True},
        {"gen_length": 50},
    ],
    ids=str,
)
def test_greedy_decoding_is_at_temperature_zero_to_the_end_and_as_long_as_the_text(options):
    backbone = RandomBackbone(vocab_size=5, end_token_ids=(0, 1))
    contexts = [[i, i % 3] for i in range(4)]
    way = {"sampler": "fixed_k", "score": "left_to_right"}
    written = generate(backbone, contexts, gen_length=6, **way)
    assert any(token in (0, 1) for row in written for token in row.token_ids[:3])
    pairs = [(context, row.token_ids) for context, row in zip(contexts, written, strict=True)]
    for likelihood in ("l2r", "path"):
        scores = loglikelihood(backbone, pairs, greedy=True, likelihood=likelihood, **way, **options)
        assert [(s.is_greedy, s.nfe) for s in scores] == [(True, 12 if likelihood == "l2r" else 6)] * len(contexts)


def test_greedy_decoding_is_run_only_if_asked():
    backbone = small()
    (written,) = generate(backbone, [CONTEXT], gen_length=3)
    (found,) = loglikelihood(backbone, [(CONTEXT, written.token_ids)], likelihood="l2r")
    assert (found.is_greedy, found.nfe, sum(map(len, backbone.passes))) == (False, 3, 6)
