"""Scores along the sampler's own path, against a slow decoder that was written from docs/semantics.md."""

import itertools
import math

import pytest
import torch

from lm_eval_mdlm.engine.filling import Filling
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.samplers import PC_OPTIONS, SAMPLERS, SCORES
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from tests.engine.test_caches import DenseReference
from tests.slow import Slow
from tests.slow_samplers import SlowWithMemory
from tests.toy import RandomBackbone


WAYS = [
    {"sampler": "fixed_k"},
    {"sampler": "fixed_k", "k": 2},
    {"sampler": "fixed_k", "score": "confidence"},
    {"sampler": "fixed_k", "k": 2, "score": "margin"},
    {"sampler": "fixed_k", "score": "left_to_right"},
    {"sampler": "fixed_k", "steps": 6},
    {"sampler": "fixed_k", "steps": 6, "score": "margin"},
    {"sampler": "med", "entropy_threshold": 0.7},
    {"sampler": "med", "entropy_threshold": 0.9, "k_max": 2},
    {"sampler": "entropy_bound", "entropy_bound": 0.5},
    {"sampler": "entropy_bound"},
    {"sampler": "confidence_threshold", "confidence_threshold": 0.6},
    {"sampler": "confidence_factor", "factor": 0.9},
    {"sampler": "confidence_factor"},
    {"sampler": "klass", "confidence_threshold": 0.3, "kl_threshold": 2.0, "history": 1},
    {"sampler": "local_leap", "confidence_threshold": 0.6, "relaxed_threshold": 0.4, "radius": 1},
    {"sampler": "dream", "alg": "maskgit_plus", "steps": 2},
    {"sampler": "dream", "alg": "topk_margin"},
]
ELSEWHERE = {"slow_fast", "ada_block", "sliding_block"}
"""In test_published_loops, as `score=pc` is."""
LOOK_AT_MORE = {"dus", "remdm", "edit"}
REFUSED = [
    {"sampler": "credit", "credit_decay": 0.5, "credit_exponent": 1.0, "credit_strength": 1.0},
    {"sampler": "dream", "alg": "origin"},
    {"sampler": "dream", "alg_temp": 0.3},
]
"""Their tokens come from other distributions, or their order is drawn."""
CONTEXT = [1, 0, 2]


def small() -> RandomBackbone:
    """Three tokens and the mask."""
    return RandomBackbone(vocab_size=4)


def slow(backbone: RandomBackbone, **options) -> Slow:
    forbidden = [backbone.mask_token_id, *options.get("suppress_tokens", ())]
    scale = options.get("cfg_scale", 0.0)
    return SlowWithMemory(backbone.logits_of, backbone.mask_token_id, cfg_scale=scale, forbidden=forbidden)


def blocks_of(way, block_length: int) -> dict[str, int]:
    return {} if way["sampler"] == "dream" else {"block_length": block_length}


def on_path(backbone, texts, context=CONTEXT, **options):
    return loglikelihood(backbone, [(context, text) for text in texts], likelihood="path", greedy=True, **options)


def test_every_sampler_and_score_has_a_way():
    known = {way["sampler"] for way in WAYS + REFUSED}
    assert known | ELSEWHERE | LOOK_AT_MORE == set(SAMPLERS)
    named = {option for way in WAYS + REFUSED for option in way} - {"sampler"}
    assert named == {option for sampler in known for option in SAMPLERS[sampler].options} - set(PC_OPTIONS)
    assert {way["score"] for way in WAYS if "score" in way} | {"entropy", "random"} == set(SCORES)


@pytest.mark.parametrize("block_length", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_all_texts_of_a_length_are_scored_as_by_hand_and_add_up_to_one(way, block_length):
    backbone = small()
    texts = list(itertools.product(range(3), repeat=3))
    for extra in ({}, {"cfg_scale": 0.7}):
        options = {**way, **extra, **blocks_of(way, block_length)}
        oracle = slow(backbone, **extra)
        scores = on_path(backbone, texts, **options)
        for text, score in zip(texts, scores, strict=True):
            expected = oracle.decode(CONTEXT, 3, options, text)
            assert score.log_prob == pytest.approx(expected.log_prob, abs=1e-5)
            assert (score.nfe, score.is_greedy) == (expected.passes, expected.proposed)
        assert math.fsum(math.exp(score.log_prob) for score in scores) == pytest.approx(1, abs=1e-5)
        (written,) = generate(backbone, [CONTEXT], gen_length=3, **options)
        assert [list(text) for text, score in zip(texts, scores, strict=True) if score.is_greedy] == [written.token_ids]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_longer_texts_over_a_larger_vocabulary_are_scored_as_by_hand(way):
    backbone = RandomBackbone(vocab_size=30, scale=4.0)
    oracle = slow(backbone)
    for context, length, block_length in ([7] * 5, 8, 4), ([3, 9], 9, 5), ([8], 9, 32):
        options = {**way, **blocks_of(way, block_length)}
        greedy = oracle.decode(context, length, options)
        texts = [greedy.tokens, [*greedy.tokens[:-1], (greedy.tokens[-1] + 1) % 29], list(range(length))]
        for text, score in zip(texts, on_path(backbone, texts, context, **options), strict=True):
            expected = oracle.decode(context, length, options, text)
            assert score.log_prob == pytest.approx(expected.log_prob, abs=2e-5)
            assert (score.nfe, score.is_greedy) == (expected.passes, text == greedy.tokens)
            assert (score.standard_error, score.nfe_partial, score.nfe_saved) == (0.0, 0, None)


def test_suppressed_tokens_are_impossible_and_the_other_texts_share_all():
    backbone = small()
    texts = list(itertools.product(range(3), repeat=3))
    options = {"sampler": "med", "entropy_threshold": 0.5, "suppress_tokens": [1]}
    scores = on_path(backbone, texts, **options)
    oracle = slow(backbone, suppress_tokens=[1])
    for text, score in zip(texts, scores, strict=True):
        if 1 in text:
            assert (score.log_prob, score.is_greedy, score.standard_error) == (-math.inf, False, 0.0)
        else:
            expected = oracle.decode(CONTEXT, 3, options, text).log_prob
            assert score.log_prob == pytest.approx(expected, abs=1e-5)
    assert math.fsum(math.exp(score.log_prob) for score in scores) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("way", [{"k": 1}, {"steps": 3}], ids=str)
def test_an_order_that_is_drawn_is_refused(way):
    backbone = small()
    with pytest.raises(UsageError, match="score=random looks at more; choose another, or likelihood=elbo"):
        on_path(backbone, [[1, 2, 0]], score="random", block_length=1, **way)
    assert not backbone.passes


@pytest.mark.parametrize(
    ("way", "named"),
    [
        *(({"sampler": sampler}, f"sampler={sampler}") for sampler in sorted(LOOK_AT_MORE)),
        ({"sampler": "med", "defer_end_of_text": True}, "defer_end_of_text=True"),
    ],
    ids=str,
)
def test_samplers_that_look_at_more_are_refused_by_name(way, named):
    backbone = RandomBackbone(vocab_size=4, end_token_ids=(0,))
    with pytest.raises(UsageError, match=f"{named}.* looks at more; choose another, or likelihood=elbo"):
        on_path(backbone, [[1, 2, 0]], **way)
    assert not backbone.passes


@pytest.mark.parametrize("way", REFUSED, ids=str)
def test_samplers_whose_texts_have_no_probability_of_their_own_are_refused(way):
    with pytest.raises(UsageError, match=f"sampler={way['sampler']}.* looks at more; choose another"):
        on_path(small(), [[1, 2, 0]], **way)


def test_whether_it_is_greedy_is_told_only_if_asked():
    backbone = small()
    (written,) = generate(backbone, [CONTEXT], gen_length=3)
    (score,) = loglikelihood(backbone, [(CONTEXT, written.token_ids)], likelihood="path")
    assert not score.is_greedy
    assert sum(map(len, backbone.passes)) == written.nfe + score.nfe == 6


def test_options_of_what_is_not_the_sampler_change_no_score():
    # Token probabilities are those at temperature 1 and without restriction, and a text is scored to its end.
    backbone = small()
    (plain,) = on_path(backbone, [[1, 2, 0]], sampler="med")
    others = {"temperature": 0.5, "top_k": 1, "top_p": 0.5, "min_p": 0.3, "stop_when_settled": True, "seed": 5}
    assert on_path(backbone, [[1, 2, 0]], sampler="med", gen_length=77, **others) == [plain]


CACHED = [
    {"sampler": "fixed_k", "k": 2, "block_length": 8, "cache": "prefix"},
    {"sampler": "med", "entropy_threshold": 1.0, "block_length": 6, "cache": "dual"},
    {"sampler": "confidence_factor", "block_length": 8, "cache": "none"},
]
PROMPTS = [[3 + (7 * i + 11 * j) % 380 for j in range(4 + 9 * i % 23)] for i in range(4)]


@pytest.mark.parametrize("options", CACHED, ids=str)
def test_a_text_that_was_generated_is_greedy_at_the_same_passes(backbone, options, monkeypatch):
    confidences = []
    decide = Filling.decide

    def watched(kind, rows, reading, readout):
        changes = decide(kind, rows, reading, readout)
        for i, (row, change) in enumerate(zip(rows, changes, strict=True)):
            own = dict(zip(row.wanted.tolist(), reading.confidence[reading.at(i)].tolist(), strict=True))
            confidences.append((row.plan.prompt_ids, sum(math.log(own[p]) for p in change.positions.tolist())))
        return changes

    monkeypatch.setattr(Filling, "decide", watched)
    written = generate(backbone, PROMPTS, gen_length=16, **options)
    pairs = [(prompt, row.token_ids) for prompt, row in zip(PROMPTS, written, strict=True)]
    scores = loglikelihood(backbone, pairs, likelihood="path", greedy=True, **options)
    assert all(score.is_greedy for score in scores)
    assert [(s.nfe, s.nfe_partial) for s in scores] == [(row.nfe, row.nfe_partial) for row in written]
    assert any(score.nfe_partial for score in scores) == (options["cache"] != "none")
    for prompt, score in zip(PROMPTS, scores, strict=True):
        # What is likeliest has the pass's confidence as its probability.
        assert score.log_prob == pytest.approx(sum(own for ids, own in confidences if list(ids) == prompt), abs=1e-4)
    changed = [(prompt, [*text[:-1], (text[-1] + 1) % 380]) for prompt, text in pairs]
    others = loglikelihood(backbone, changed, likelihood="path", greedy=True, batch_size=3, **options)
    assert not any(score.is_greedy for score in others)


@pytest.mark.parametrize("options", CACHED, ids=str)
@pytest.mark.parametrize("likelihood", [{"likelihood": "l2r"}, {"likelihood": "elbo", "mc_num": 4}], ids=str)
def test_greedy_decoding_beside_an_estimate_is_the_sampler_s_with_its_cache(backbone, options, likelihood):
    written = generate(backbone, PROMPTS[:2], gen_length=16, **options)
    passes = {"l2r": 16, "elbo": 4}[likelihood["likelihood"]]
    for prompt, row in zip(PROMPTS, written, strict=False):
        (found,) = loglikelihood(backbone, [(prompt, row.token_ids)], greedy=True, **options, **likelihood)
        assert (found.is_greedy, found.nfe, found.nfe_partial) == (True, passes + row.nfe, row.nfe_partial)
        wrong = [(row.token_ids[0] + 1) % 380, *row.token_ids[1:]]
        (found,) = loglikelihood(backbone, [(prompt, wrong)], greedy=True, **options, **likelihood)
        assert not found.is_greedy and passes < found.nfe <= passes + row.nfe


class Stale(Slow):
    """A network that recomputes only what a cache leaves it: dense attention over keys and values kept in a list."""

    def __init__(self, backbone, cache: str, block_length: int) -> None:
        super().__init__(lambda canvas: None, backbone.mask_token_id, forbidden=[backbone.mask_token_id])
        self.backbone, self.cache, self.size = backbone, cache, block_length
        self.reference, self.start = DenseReference(backbone), -1

    @torch.inference_mode()
    def log_probs(self, prompt, rest):
        offset, lookback = len(prompt), self.backbone.lookback
        start = rest.index(self.mask) // self.size * self.size
        masked = [i for i in range(start, min(start + self.size, len(rest))) if rest[i] == self.mask]
        source = {i: max(offset + i - lookback, 0) for i in masked}
        recomputed = set(range(offset + len(rest)))
        if start == self.start:
            end = start + self.size if self.cache == "dual" else len(rest)
            recomputed = {offset + i for i in range(start, min(end, len(rest)))} | set(source.values())
        self.start, places = start, sorted(recomputed)
        canvas = torch.tensor([*prompt, *rest])
        states = self.reference(canvas[places], torch.tensor(places))
        rows = [[0.0]] * len(rest)
        for i in masked:
            logits = self.backbone.head(states[places.index(source[i])][None])[0].double()
            logits[self.mask] = -math.inf
            rows[i] = logits.log_softmax(-1).tolist()
        return rows


@pytest.mark.parametrize("options", CACHED[:2], ids=str)
def test_any_text_is_scored_from_what_the_cache_recomputes(backbone, options):
    for i, prompt in enumerate(PROMPTS[:2]):
        text = [3 + (13 * i + 29 * j) % 380 for j in range(19)]
        expected = Stale(backbone, options["cache"], options["block_length"]).decode(prompt, 19, options, text)
        cached, exact = (
            loglikelihood(backbone, [(prompt, text)], likelihood="path", **{**options, "cache": cache})[0]
            for cache in (options["cache"], "none")
        )
        assert cached.log_prob == pytest.approx(expected.log_prob, abs=2e-3)
        assert cached.nfe == expected.passes and 0 < cached.nfe_partial < cached.nfe
        assert cached.log_prob != pytest.approx(exact.log_prob, abs=2e-2)
