"""Log-likelihoods and trace scores of block-causal networks, against one that never has later blocks on its canvas."""

import itertools
import math

import numpy as np
import pytest

from lm_eval_mdlm.decoding.likelihood.published import PublishedDream, PublishedLLaDA
from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.answering import run
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from lm_eval_mdlm.running.processes import ProcessGroup
from lm_eval_mdlm.running.trace_scoring import TraceScoreRequest
from tests.slow import Slow
from tests.toy import RandomBackbone


END = 5
CONTEXT, TEXT = [4, 0, 2, 1, 1], [1, 3, 3, 0, 2, 4, 0]
"""With blocks of 3: one text token beside the context's last two, then 3 and 3."""
PARTS = [(0, 1), (1, 4), (4, 7)]


def network(size: int | None = 3, **options) -> RandomBackbone:
    return RandomBackbone(vocab_size=7, end_token_ids=(END,), grid_block=size, **options)


def slow(backbone: RandomBackbone, **options) -> Slow:
    return Slow(backbone.logits_of, backbone.mask_token_id, **options)


class Stretch:
    """One block's tokens after all before them; guidance masks the context alone."""

    def __init__(self, backbone, start, stop, cfg_scale=0.0) -> None:
        self.slow, self.start, self.text = slow(backbone, cfg_scale=cfg_scale), start, TEXT[:stop]

    def of(self, hidden, behind=()) -> dict[int, float]:
        return self.slow.given_the_rest(CONTEXT, self.text, [self.start + i for i in hidden], behind)

    def chain(self, order) -> float:
        left = [order[i:] for i in range(len(order))]
        return math.fsum(self.of(hidden)[self.start + hidden[0]] for hidden in left)

    def over_orders(self) -> float:
        orders = list(itertools.permutations(range(len(self.text) - self.start)))
        return math.fsum(map(self.chain, orders)) / len(orders)


@pytest.mark.parametrize("cfg_scale", [0.0, 1.5])
def test_the_exact_estimate_is_the_chain_over_blocks_of_the_mean_over_orders(cfg_scale):
    backbone = network()
    (found,) = loglikelihood(backbone, [(CONTEXT, TEXT)], mc_num=7, cfg_scale=cfg_scale)
    assert found.log_prob == pytest.approx(
        sum(Stretch(backbone, *part, cfg_scale).over_orders() for part in PARTS), abs=1e-5
    )
    assert (found.nfe, found.standard_error) == ((1 + 7 + 7) * (2 if cfg_scale else 1), 0.0)
    assert {len(canvas) for canvas in backbone.canvases} == {6, 9, 12}


@pytest.mark.parametrize("likelihood", ["l2r", "r2l"])
def test_chain_rules_go_block_by_block(likelihood):
    backbone = network()
    (found,) = loglikelihood(backbone, [(CONTEXT, TEXT)], likelihood=likelihood)
    orders = [list(range(stop - start))[:: 1 if likelihood == "l2r" else -1] for start, stop in PARTS]
    expected = [Stretch(backbone, *part).chain(order) for part, order in zip(PARTS, orders, strict=True)]
    assert found.log_prob == pytest.approx(sum(expected), abs=1e-5) and found.nfe == len(TEXT)


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_sampled_estimates_add_up_with_their_own_masks_and_errors_in_quadrature(name):
    estimator = {"llada": PublishedLLaDA(mc_num=16, mc_batch=4), "dream": PublishedDream(mc_num=16, mc_batch=4)}[name]
    backbone = network()
    (found,) = loglikelihood(backbone, [(CONTEXT, TEXT)], likelihood=name, mc_num=16, mc_batch=4, seed=3)
    key, value, variance, passes = RowKey.of(3, CONTEXT, TEXT, 0), 0.0, 0.0, 0
    for number, part in enumerate(PARTS):
        maskings = estimator.maskings(part[1] - part[0], key.of_part(number))
        stretch = Stretch(backbone, *part)
        # The end of text would be the first token of a block of its own here, which the text does not see.
        sums = [one.weight * math.fsum(stretch.of(one.masked.tolist()).values()) for one in maskings]
        rounds = np.array(sums).reshape(4, 4).sum(1) * 4
        value, passes = value + sum(sums), passes + sum(len(one.masked) > 0 for one in maskings)
        variance += rounds.var(ddof=1) / 4 if part[1] - part[0] > 1 or name == "dream" else 0
    assert found.log_prob == pytest.approx(value, abs=1e-4) and found.nfe == passes
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-3)
    assert len({key.of_part(number).seed("x") for number in range(3)}) == 3


def test_the_end_of_text_of_dreams_estimate_is_seen_in_its_own_block():
    backbone = network()
    (found,) = loglikelihood(backbone, [(CONTEXT, TEXT[:2])], likelihood="dream", mc_num=4, mc_batch=4)
    assert {canvas[6:] for canvas in backbone.canvases if len(canvas) > 6} <= {(6, END), (3, END)} and found.nfe


@pytest.mark.parametrize("size", [1, 2, 4])
def test_probabilities_of_all_texts_add_up_to_one(size):
    backbone = RandomBackbone(vocab_size=4, scale=1.0, grid_block=size)
    texts = list(itertools.product(range(4), repeat=3))
    # Under the chain rule from left to right the mask token, which no text may hold, has a share of its own.
    pairs = [([1, 0, 2], text) for text in texts if 3 not in text]
    path = loglikelihood(backbone, pairs, likelihood="path", sampler="med", entropy_threshold=1.0)
    assert math.fsum(math.exp(score.log_prob) for score in path) == pytest.approx(1, abs=1e-5)
    found = loglikelihood(backbone, pairs, likelihood="l2r")
    for (context, text), score in zip(pairs, found, strict=True):
        whole, chain = Slow(backbone.logits_of, 3), 0.0
        for i in range(3):
            end = min((3 + i) // size * size + size, 6) - 3
            chain += whole.log_probs(context, [*text[:i], *[3] * (end - i)])[i][text[i]]
        assert score.log_prob == pytest.approx(chain, abs=1e-5)


def test_sampling_that_may_end_early_ends_by_the_error_of_all_blocks():
    options = {"mc_num": 160, "seed": 1}
    text = [TEXT[i % 7] for i in range(1 + 9 + 9)]
    grid = RandomBackbone(vocab_size=7, end_token_ids=(END,), grid_block=9)
    context = [*CONTEXT, 1, 1, 1]
    (whole,) = loglikelihood(grid, [(context, text)], **options)
    (early,) = loglikelihood(grid, [(context, text)], mc_se=whole.standard_error * 1.7, **options)
    assert early.nfe_saved and early.nfe + early.nfe_saved == whole.nfe
    assert whole.standard_error < early.standard_error <= whole.standard_error * 1.7


def test_is_greedy_is_what_decoding_writes():
    backbone = network()
    options = {"sampler": "confidence_threshold", "confidence_threshold": 0.5}
    (row,) = generate(backbone, [CONTEXT], gen_length=7, stop_when_settled=False, **options)
    other = [*row.token_ids[:6], (row.token_ids[6] + 1) % 5]
    found = loglikelihood(
        backbone, [(CONTEXT, row.token_ids), (CONTEXT, other)], likelihood="l2r", greedy=True, **options
    )
    assert [score.is_greedy for score in found] == [True, False] and found[0].nfe == 7 + row.nfe


def test_scores_do_not_depend_on_company():
    pairs = [(CONTEXT[: 1 + i % 5], TEXT[: 1 + i % 7]) for i in range(9)]
    alone = loglikelihood(network(), pairs, batch_size=1, mc_num=6, greedy=True)
    assert loglikelihood(network(), pairs, batch_size=16, mc_num=6, greedy=True) == alone


@pytest.mark.parametrize("likelihood", ["one_pass", "l2r"])
def test_trace_scores_see_the_reasoning_and_their_own_block_alone(likelihood):
    backbone = network()
    config = DecodingConfig.from_options({"template": [{"reasoning": 4}, {"answer": 5}]})
    request = TraceScoreRequest(
        prompt_ids=[4, 0],
        config=config,
        reasoning_ids=[1, 2, 3, 1],
        answer=[2, 0, 3],
        prefixes=[0, 3],
        likelihood=likelihood,
    )
    (found,) = run(backbone, [[request]], group=ProcessGroup(alone=True), budget=Budget(), progress=False).records
    reader, mask = slow(network(None), forbidden=[6]), 6
    for prefix, log_prob in zip((0, 3), found.log_probs, strict=True):
        region = [1, 2, 3, 1][:prefix] + [mask] * (9 - prefix)
        gold, expected = [2, 0, 3, END], 0.0
        for i, token in enumerate(gold):
            if likelihood == "l2r" and i:
                region[3 + i] = gold[i - 1]
            end = (2 + 4 + i) // 3 * 3 + 3 - 2
            expected += reader.log_probs([4, 0], region[:end])[4 + i][token]
        assert log_prob == pytest.approx(expected, abs=1e-5)
