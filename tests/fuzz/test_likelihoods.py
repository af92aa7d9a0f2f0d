"""Random texts and options of every likelihood against enumeration, or sums over the masks of the same draws."""

import math

import pytest
from hypothesis import strategies as st

from lm_eval_mdlm.decoding.likelihood.elbo import Elbo
from lm_eval_mdlm.decoding.likelihood.published import PublishedDream, PublishedLLaDA
from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.options.likelihood import LIKELIHOODS
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from tests.engine.test_path import ELSEWHERE, LOOK_AT_MORE, slow
from tests.fuzz.inputs import fuzz, sizes
from tests.fuzz.test_decoding import MEMORY, PUBLISHED, share
from tests.slow import Slow
from tests.toy import RandomBackbone


END = 5
CONTEXTS = st.lists(st.integers(0, 5), min_size=1, max_size=5)
TEXTS = st.lists(st.integers(0, 5), min_size=1, max_size=6)
SCALES = st.just(0.0) | share(0.1, 1.5)
BATCHES = st.integers(1, 9) | st.just("auto")


def network() -> RandomBackbone:
    """Six tokens, one of which ends texts, and the mask."""
    return RandomBackbone(vocab_size=7, end_token_ids=(END,))


def of_an_order(reader, context, text, found, order):
    assert found.log_prob == pytest.approx(reader.chain_rule(context, text, order), abs=2e-5)
    assert found.standard_error == 0.0
    return len(text)


def of_masks(reader, context, text, found, estimator, seed):
    """The weighted sum over masks, whose share of all sets the tests of the estimators check; its passes."""
    behind = [END] if estimator.appends_end else []
    maskings = estimator.maskings(len(text), RowKey.of(seed, context, text, 0))
    run = [one for one in maskings if len(one.scored)]
    sums = [reader.given_the_rest(context, text, one.masked.tolist(), behind).values() for one in run]
    expected = math.fsum(one.weight * math.fsum(own) for one, own in zip(run, sums, strict=True))
    assert found.log_prob == pytest.approx(expected, abs=1e-4, rel=1e-5)
    return len(run)


def of_all_orders(reader, context, text, found, mc_num, seed):
    """By enumeration where that is within the passes."""
    if 2 ** len(text) - 1 > mc_num:
        return of_masks(reader, context, text, found, Elbo(mc_num=mc_num), seed)
    assert found.standard_error == 0.0
    if len(text) <= 4:
        assert found.log_prob == pytest.approx(reader.mean_over_orders(context, text), abs=2e-5)
    return 2 ** len(text) - 1


ROUNDS = st.tuples(st.integers(1, 4), st.integers(1, 8)).map(
    lambda own: {"mc_num": own[0] * own[1], "mc_batch": own[1]}
)
ESTIMATES = {
    "l2r": (st.just({}), lambda own, seed, *rest: of_an_order(*rest, range(len(rest[2])))),
    "r2l": (st.just({}), lambda own, seed, *rest: of_an_order(*rest, range(len(rest[2]))[::-1])),
    "elbo": (
        st.fixed_dictionaries({"mc_num": st.integers(1, 70)}),
        lambda own, seed, *rest: of_all_orders(*rest, own["mc_num"], seed),
    ),
    "llada": (ROUNDS, lambda own, seed, *rest: of_masks(*rest, PublishedLLaDA(**own), seed)),
    "dream": (ROUNDS, lambda own, seed, *rest: of_masks(*rest, PublishedDream(**own), seed)),
}


@sizes(8, 1_000)
def test_every_estimate_is_that_of_the_network_asked_one_canvas_at_a_time(number):
    def check(name, pairs, scale, seed, batch_size, data):
        options, compare = ESTIMATES[name]
        own = data.draw(options)
        asked = {"likelihood": name, "cfg_scale": scale, "seed": seed, "batch_size": batch_size, **own}
        backbone = network()
        reader = Slow(backbone.logits_of, backbone.mask_token_id, cfg_scale=scale)
        for (context, text), found in zip(pairs, loglikelihood(backbone, pairs, **asked), strict=True):
            passes = compare(own, seed, reader, context, text, found)
            assert found.nfe == passes * (2 if scale else 1)

    pairs = st.lists(st.tuples(CONTEXTS, TEXTS), min_size=1, max_size=3)
    fuzz(number, check, st.sampled_from(sorted(ESTIMATES)), pairs, SCALES, st.integers(0, 9), BATCHES, st.data())


ON_PATHS = {
    **{name: own for name, own in PUBLISHED.items() if name.split()[0] not in ELSEWHERE | LOOK_AT_MORE},
    **{name: own for name, own in MEMORY.items() if name in ("klass", "local_leap")},
    "dream": st.fixed_dictionaries(
        {"alg": st.sampled_from(["maskgit_plus", "topk_margin", "entropy"])}, optional={"steps": st.integers(1, 9)}
    ),
}
del ON_PATHS["fixed_k of pc"]


@sizes(8, 1_000)
def test_every_path_is_scored_as_by_a_plain_decoder_and_greedy_where_it_is_written(number):
    def check(name, context, text, scale, batch_size, data):
        own = {"sampler": name.split()[0], **data.draw(ON_PATHS[name])}
        asked = {**own, "cfg_scale": scale, "batch_size": batch_size}
        backbone = network()
        oracle = slow(backbone, cfg_scale=scale)
        (written,) = generate(backbone, [context], gen_length=len(text), stop_when_settled=False, **asked)
        pairs = [(context, text), (context, written.token_ids)]
        scores = loglikelihood(backbone, pairs, likelihood="path", greedy=True, **asked)
        for (_, one), score in zip(pairs, scores, strict=True):
            expected = oracle.decode(context, len(one), own, one)
            assert score.log_prob == pytest.approx(expected.log_prob, abs=2e-5)
            assert (score.nfe, score.is_greedy) == (expected.passes, list(one) == written.token_ids)

    numbers = (SCALES, BATCHES, st.data())
    fuzz(number, check, st.sampled_from(sorted(ON_PATHS)), CONTEXTS, TEXTS, *numbers)


def test_every_likelihood_is_among_them():
    assert {*ESTIMATES, "path"} == set(LIKELIHOODS)
