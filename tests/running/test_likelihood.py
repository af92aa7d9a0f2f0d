"""`loglikelihood`: what goes in is checked before the first pass, and what comes out depends on nothing else."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lm_eval_mdlm.decoding.likelihood.elbo import Elbo
from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.likelihood import LIKELIHOODS
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from lm_eval_mdlm.running.processes import ProcessGroup
from tests.slow import Slow
from tests.toy import RandomBackbone


VOCAB, MASK, END = 40, 39, 1
PAIRS = [
    ([2 + (7 * i + j) % 36 for j in range(1 + i % 6)], [2 + (5 * i + 3 * j) % 36 for j in range(1 + 4 * i % 11)])
    for i in range(16)
]
WAYS = [
    {"likelihood": "elbo", "mc_num": 20},
    {"likelihood": "elbo", "mc_num": 64, "mc_se": 0.5, "cfg_scale": 0.5},
    {"likelihood": "l2r", "cfg_scale": 1.0},
    {"likelihood": "r2l"},
    {"likelihood": "llada", "mc_num": 16, "sampler": "med", "entropy_threshold": 2.5},
    {"likelihood": "dream", "mc_num": 32, "sampler": "confidence_factor"},
    {"likelihood": "path", "sampler": "entropy_bound", "entropy_bound": 3.0},
]


def network(**options) -> RandomBackbone:
    return RandomBackbone(vocab_size=VOCAB, end_token_ids=(END,), **options)


def test_every_likelihood_has_a_way():
    assert {way["likelihood"] for way in WAYS} == set(LIKELIHOODS)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_scores_depend_neither_on_batch_size_nor_on_order(way):
    backbone = network()
    alone = loglikelihood(backbone, PAIRS, batch_size=1, greedy=True, **way)
    assert sum(score.nfe for score in alone) == sum(map(len, backbone.passes))
    for batch_size in (7, 32, "auto"):
        assert loglikelihood(network(), PAIRS, batch_size=batch_size, greedy=True, **way) == alone
    order = random.Random(1).sample(range(len(PAIRS)), len(PAIRS))
    shuffled = loglikelihood(network(), [PAIRS[i] for i in order], batch_size=7, greedy=True, **way)
    assert [shuffled[order.index(i)] for i in range(len(PAIRS))] == alone
    assert [loglikelihood(network(), [pair], greedy=True, **way)[0] for pair in PAIRS[:3]] == alone[:3]


class Together(ProcessGroup):
    """Processes of a group that are threads of one."""

    def __init__(self, rank: int, size: int, shared: dict) -> None:
        self._own_rank, self._size, self._shared = rank, size, shared

    rank = property(lambda self: self._own_rank)
    world_size = property(lambda self: self._size)

    def counters(self):
        return self._shared["counters"]

    def everyones(self, attempt):
        parts = self._shared["parts"]
        parts[self.rank] = attempt()
        self._shared["barrier"].wait()
        found = [parts[rank] for rank in range(self.world_size)]
        self._shared["barrier"].wait()
        return found


class LockedCounters:
    def __init__(self) -> None:
        self._counters, self._lock = ProcessGroup(alone=True).counters(), threading.Lock()

    def add(self, name: str, amount: int) -> int:
        with self._lock:
            return self._counters.add(name, amount)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("way", WAYS[:2], ids=str)
def test_processes_share_the_passes_and_all_get_all_scores(way, size):
    expected = loglikelihood(network(), PAIRS, greedy=True, **way)
    shared = {"counters": LockedCounters(), "parts": {}, "barrier": threading.Barrier(size, timeout=60)}
    backbones = [network() for _ in range(size)]

    def work(rank: int):
        group = Together(rank, size, shared)
        return loglikelihood(backbones[rank], PAIRS, greedy=True, group=group, batch_size=4, **way)

    with ThreadPoolExecutor(size) as threads:
        assert list(threads.map(work, range(size))) == [expected] * size
    assert sum(sum(map(len, backbone.passes)) for backbone in backbones) == sum(score.nfe for score in expected)


def sampled(context, text, seed: int, seen_context) -> float:
    """The sampled bound after what is left of the context, with draws from the whole of it."""
    maskings = Elbo(20).maskings(len(text), RowKey.of(seed, context, text, 0))
    reader = Slow(network().logits_of, MASK)
    return sum(
        one.weight * sum(reader.given_the_rest(seen_context, text, one.scored.tolist()).values()) for one in maskings
    )


def test_a_long_context_is_cut_from_the_left_and_seeds_come_from_the_whole():
    context, text = [3, 4, 5, 6, 7, 8, 9], [10, 12, 14, 16, 18, 20]
    whole, cut = (
        loglikelihood(network(), [(context, text)], mc_num=20, max_length=length, greedy=True)[0] for length in (13, 10)
    )
    assert (whole.truncated, cut.truncated) == (False, True)
    assert whole.log_prob == pytest.approx(sampled(context, text, 0, context), abs=1e-4)
    assert cut.log_prob == pytest.approx(sampled(context, text, 0, context[-4:]), abs=1e-4)
    other = loglikelihood(network(), [([30, *context[1:]], text)], mc_num=20, max_length=10)[0]
    assert other.log_prob == pytest.approx(sampled([30, *context[1:]], text, 0, context[-4:]), abs=1e-4)
    assert other.log_prob != pytest.approx(cut.log_prob, abs=1e-3)


@pytest.mark.parametrize("likelihood", ["l2r", "path", "elbo"])
def test_what_needs_no_draws_sees_only_what_is_left_of_a_context(likelihood):
    context, text = [3, 4, 5, 6, 7, 8, 9], [10, 12, 14]
    backbone = network()
    cut = loglikelihood(backbone, [(context, text)], likelihood=likelihood, max_length=7, greedy=True)[0]
    assert {canvas[:4] for canvas in backbone.canvases} == {(6, 7, 8, 9)}
    short = loglikelihood(network(), [(context[3:], text)], likelihood=likelihood, greedy=True)[0]
    assert (cut.truncated, short.truncated) == (True, False)
    assert (cut.log_prob, cut.nfe, cut.is_greedy) == (short.log_prob, short.nfe, short.is_greedy)


def test_dream_s_end_takes_a_place_of_the_longest_canvas():
    backbone = network()
    (cut,) = loglikelihood(backbone, [([3, 4, 5], [6, 7])], likelihood="dream", mc_num=32, max_length=5)
    assert cut.truncated and {len(canvas) for canvas in backbone.canvases} == {5}
    assert {canvas[:2] for canvas in backbone.canvases} == {(4, 5)}


def test_a_seed_changes_samples_and_nothing_else():
    short = [(context, text[:3]) for context, text in PAIRS]
    for way, pairs in ((WAYS[0], PAIRS), (WAYS[0], short), (WAYS[2], PAIRS), (WAYS[3], PAIRS), (WAYS[6], PAIRS)):
        backbone = network()
        unset, zero, one = (
            loglikelihood(backbone, pairs, greedy=True, **way, **seed) for seed in ({}, {"seed": 0}, {"seed": 1})
        )
        assert unset == zero
        assert [s.is_greedy for s in zero] == [s.is_greedy for s in one]
        for (_, text), before, after in zip(pairs, zero, one, strict=True):
            drawn = way["likelihood"] == "elbo" and len(text) > 4  # 2**4 - 1 sets are within 20 passes
            assert (before.log_prob != after.log_prob) == drawn
            assert (before.standard_error > 0) == drawn
            if not drawn:
                assert before == after


def test_ids_are_numbers_whatever_they_come_in():
    expected = loglikelihood(network(), PAIRS, mc_num=20)
    for kind in (tuple, np.array, torch.tensor):
        assert loglikelihood(network(), [(kind(c), kind(t)) for c, t in PAIRS], mc_num=20) == expected
    assert loglikelihood(network(), [list(pair) for pair in PAIRS], mc_num=20) == expected


@pytest.mark.parametrize(
    ("options", "message", "used"),
    [
        # Six steps do not fit four blocks, but an estimate without greedy decoding takes none.
        ({"steps": 6, "block_length": 2}, "steps must be a multiple of the number of blocks", {"greedy": True}),
        ({"steps": 6, "block_length": 2}, "steps must be a multiple of the number of blocks", {"likelihood": "path"}),
        ({"sampler": "ada_block"}, "delimiters needs a tokenizer, and the checkpoint has none", {"greedy": True}),
        ({"defer_end_of_text": True}, "defer_end_of_text=True needs an end-of-text token", {"greedy": True}),
    ],
    ids=str,
)
def test_options_of_an_unused_sampler_refuse_nothing(options, message, used):
    pairs = [([3, 4], [5, 6, 7, 8, 9, 10, 11])]
    backbone = network()
    backbone.end_token_ids = ()
    plain = loglikelihood(backbone, pairs, mc_num=20)
    assert loglikelihood(backbone, pairs, mc_num=20, **options) == plain
    with pytest.raises(UsageError, match=message):
        loglikelihood(backbone, pairs, **options, **used)


def test_a_template_of_the_run_has_no_part_in_a_text():
    backbone = network()
    options = {"template": [{"reasoning": 4}, {"answer": 2}], "exit_threshold": 0.5, "gen_length": 6}
    assert loglikelihood(backbone, PAIRS[:4], greedy=True, **options) == loglikelihood(backbone, PAIRS[:4], greedy=True)


GOOD = ([3, 4], [5, 6, 7])


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ([], {}, "pairs must hold at least one pair, got none"),
        ([GOOD, ([3], [])], {}, "a text to be scored must hold at least one token, got an empty one"),
        ([GOOD, ([], [3])], {}, "must hold at least one token, got an empty one; give a context"),
        ([([3], [4, MASK])], {}, "must not hold the mask token 39"),
        ([([3], [4, VOCAB])], {}, "from 0 to 39, got 40"),
        ([([3], [-1])], {}, "from 0 to 39, got -1"),
        ([([VOCAB], [3])], {}, "from 0 to 39, got 40"),
        ([("ab", "cd")], {}, "must be a list of token ids, got 'ab'"),
        ([([3], "cd")], {}, "must be a list of token ids, got 'cd'"),
        ([([3], [4.5])], {}, r"must be a list of token ids, got \[4.5\]"),
        ([[3, 4, 5]], {}, r"each pair must be a context and a text, got \[3, 4, 5\]"),
        ([3], {}, "each pair must be a context and a text, got 3"),
        (["context"], {}, "each pair must be a context and a text, got 'context'"),
        ([GOOD], {"max_length": 3}, "a text of 3 tokens leaves no room for a context in max_length=3"),
        ([GOOD], {"max_length": 4, "likelihood": "dream"}, "a text of 3 tokens leaves no room"),
        ([GOOD], {"max_length": 5000}, "at most the checkpoint's 4096"),
        ([([3], [4] * 4096)], {}, "a text of 4096 tokens leaves no room .* max_length=4096"),
        ([GOOD], {"likelihood": "exact"}, "likelihood must be one of elbo, l2r, r2l, llada, dream, path, got 'exact'"),
        ([GOOD], {"likelihood": "elbow"}, "Did you mean 'elbo'"),
        ([GOOD], {"mc_num": 0}, "mc_num must be a whole number, at least 1, got 0"),
        ([GOOD], {"mc_num": 1.5}, "mc_num must be a whole number"),
        ([GOOD], {"likelihood": "llada", "mc_num": 12}, "multiple of mc_batch, got mc_num=12 and mc_batch=8"),
        ([GOOD], {"likelihood": "dream", "mc_num": 8}, "multiple of mc_batch, got mc_num=8 and mc_batch=32"),
        ([GOOD], {"likelihood": "llada", "mc_batch": 0}, "mc_batch must be a whole number, at least 1, got 0"),
        ([GOOD], {"likelihood": "l2r", "mc_num": 8}, "mc_num=8 belongs to likelihood=elbo or llada or dream"),
        ([GOOD], {"likelihood": "path", "mc_se": 0.1}, "mc_se=0.1 belongs to likelihood=elbo and would be ignored"),
        ([GOOD], {"likelihood": "llada", "mc_se": 0.1}, "mc_se=0.1 belongs to likelihood=elbo"),
        ([GOOD], {"mc_batch": 8}, "mc_batch=8 belongs to likelihood=llada or dream"),
        ([GOOD], {"mc_se": 0}, "mc_se must be above 0, got 0"),
        ([GOOD], {"mc_se": -1}, "mc_se must be a number at least 0, got -1"),
        ([GOOD], {"mc_se": float("nan")}, "mc_se must be a number"),
        ([GOOD], {"likelihood": "path", "score": "random"}, "score=random looks at more"),
        ([GOOD], {"mc_nmu": 8}, "unknown option 'mc_nmu'. Did you mean 'mc_num'"),
        ([GOOD], {"sampelr": "med"}, "unknown option 'sampelr'. Did you mean 'sampler'"),
        ([GOOD], {"sampler": "med", "k": 2}, "k=2 belongs to sampler=fixed_k"),
        ([GOOD], {"batch_size": 0}, "batch_size must be a whole number, at least 1, got 0"),
        ([GOOD], {"suppress_tokens": [99]}, "from 0 to 39, got 99"),
        ([GOOD], {"cache": "dual"}, "cache=dual needs the whole network on one device"),
    ],
)
def test_a_bad_request_is_refused_in_one_line_before_the_first_pass(pairs, options, message):
    backbone = network()
    with pytest.raises(UsageError, match=message) as caught:
        loglikelihood(backbone, pairs, **options)
    assert backbone.passes == [] and "\n" not in str(caught.value)


def test_dream_needs_an_end_of_text():
    backbone = RandomBackbone(vocab_size=VOCAB)
    with pytest.raises(UsageError, match="likelihood=dream needs an end-of-text token"):
        loglikelihood(backbone, [GOOD], likelihood="dream")
    assert not backbone.passes


def test_a_context_may_hold_the_mask_and_keeps_it():
    backbone = network()
    (found,) = loglikelihood(backbone, [([3, MASK], [5, 6])], likelihood="path", greedy=True)
    assert all(canvas[:2] == (3, MASK) for canvas in backbone.canvases)
    (written,) = generate(backbone, [[3, MASK]], gen_length=2)
    assert found.nfe == written.nfe == 2


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_journal_gives_back_equal_scores_without_a_pass(way, tmp_path):
    expected = loglikelihood(network(), PAIRS, greedy=True, **way)
    twice = [*PAIRS, *PAIRS]
    assert loglikelihood(network(), twice, greedy=True, journal=str(tmp_path), **way) == [*expected, *expected]
    backbone = network()
    again = loglikelihood(backbone, twice[::-1], greedy=True, journal=str(tmp_path), batch_size=3, **way)
    assert again == [*expected, *expected][::-1] and not backbone.passes
    for other in ({"greedy": False}, {"seed": 8}, {"cfg_scale": 2.0}, {"max_length": 100}):
        backbone = network()
        loglikelihood(backbone, PAIRS[:1], **{"greedy": True, "journal": str(tmp_path), **way, **other})
        assert backbone.passes, other


def test_the_key_of_an_estimate_holds_only_what_it_depends_on(tmp_path):
    asked = {"journal": str(tmp_path), "likelihood": "l2r"}
    first = loglikelihood(network(), PAIRS, k=1, **asked)
    backbone = network()
    assert (
        loglikelihood(backbone, PAIRS, k=2, block_length=3, temperature=0.5, **asked) == first and not backbone.passes
    )
    for other in ({"greedy": True}, {"likelihood": "path"}, {"cfg_scale": 1.0}, {"max_length": 100}):
        backbone = network()
        loglikelihood(backbone, PAIRS, k=2, **{**asked, **other})
        assert backbone.passes, other
