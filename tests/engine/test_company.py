"""No score depends on what else is under way: batch, order, decoding rows, memory that runs out, chunks."""

import random

import pytest
import torch

from lm_eval_mdlm.engine.decode import decoding
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.likelihood import LikelihoodConfig
from lm_eval_mdlm.running.planning import plan_row
from lm_eval_mdlm.running.scoring import ScoreRequest, Text
from tests.engine.test_memory_limits import Limited
from tests.engine.test_scheduling import OPTIONS, PROMPTS, HashBackbone, laid_out


WAYS = [
    ({"likelihood": "elbo", "mc_num": 10}, {}),
    ({"likelihood": "elbo", "mc_num": 64, "mc_se": 20.0}, {"cfg_scale": 0.5}),
    ({"likelihood": "elbo", "mc_num": 21}, {"sampler": "med", "entropy_threshold": 0.5}),
    ({"likelihood": "l2r"}, {"suppress_tokens": [2, 3]}),
    ({"likelihood": "r2l"}, {"cfg_scale": 1.0}),
    ({"likelihood": "llada", "mc_num": 8}, {"sampler": "confidence_factor"}),
    ({"likelihood": "dream", "mc_num": 32}, {"sampler": "entropy_bound", "cfg_scale": 0.7}),
    ({"likelihood": "path"}, {"sampler": "med", "cfg_scale": 0.3}),
    ({"likelihood": "path"}, {"steps": 6, "suppress_tokens": [5]}),
    ({"likelihood": "path"}, {"sampler": "klass", "confidence_threshold": 0.4, "kl_threshold": 30.0, "history": 1}),
]
LARGEST_JOB = 2 * (max(map(len, PROMPTS)) + 24)  # with guidance


def text(i: int, j: int) -> list[int]:
    return [2 + (5 * i + 3 * j + k) % 36 for k in range(1 + (3 * i + 5 * j) % 11)]


def request(i: int) -> ScoreRequest:
    """One of all ways, with one to three texts after the same context; every other one asks about greedy decoding."""
    likelihood, options = WAYS[i % len(WAYS)]
    return ScoreRequest(
        texts=tuple(
            Text(context_ids=PROMPTS[i], text_ids=text(i, j), wants_greedy=i % 2 == 0) for j in range(1 + i % 3)
        ),
        config=DecodingConfig.from_options({**options, "block_length": 12}),
        likelihood=LikelihoodConfig.from_options(likelihood),
    )


SCORED = range(2 * len(WAYS))


def decoded(backbone, i: int):
    options = laid_out(OPTIONS[i % len(OPTIONS)], 8)
    row = yield from decoding(plan_row(backbone, PROMPTS[i], DecodingConfig.from_options(options)))
    return row.generation(True)


def works(backbone):
    """Requests of both kinds by turns."""
    for i in SCORED:
        yield ("scored", i), request(i).work(backbone)
        if i < len(OPTIONS):
            yield ("decoded", i), decoded(backbone, i)


def outcome(backbone, budget=Budget(), max_bytes=2**28, order=None):  # noqa: B008  immutable
    queue = list(works(backbone))
    return dict(answer(Readout(backbone, max_bytes), [queue[i] for i in order or range(len(queue))], budget))


@pytest.fixture(scope="module")
def alone():
    """Every request in a run of its own, one job per pass."""
    backbone = HashBackbone()
    found = {}
    for key, work in works(backbone):
        ((_, found[key]),) = answer(Readout(HashBackbone()), [(key, work)], Budget(max_rows=1))
    return found


@pytest.mark.parametrize(
    "budget",
    [
        *(Budget(max_rows=n) for n in (1, 7, 32, None)),
        *(Budget(max_tokens=n) for n in (1, 100, 512)),
        Budget(max_rows=9, refill=False),
        Budget(max_requests=1),
        Budget(max_requests=3, max_tokens=200),
    ],
    ids=str,
)
def test_scores_and_rows_are_those_of_requests_alone(alone, budget):
    backbone = HashBackbone()
    assert outcome(backbone, budget) == alone
    # Every canvas of every pass is billed to a request, and nothing else is.
    assert sum(map(len, backbone.passes)) == sum(record.nfe for record in alone.values())
    if budget.max_tokens:
        assert all(sum(lengths) <= max(budget.max_tokens, LARGEST_JOB) for lengths in backbone.passes)


@pytest.mark.parametrize("seed", range(3))
def test_order_changes_nothing(alone, seed):
    order = random.Random(seed).sample(range(len(alone)), len(alone))
    assert outcome(HashBackbone(), Budget(max_rows=[7, 32, None][seed]), order=order) == alone


@pytest.mark.parametrize("max_bytes", [1, 28 * 40 * 6])
def test_chunked_reading_changes_nothing(alone, max_bytes):
    assert outcome(HashBackbone(), max_bytes=max_bytes) == alone


@pytest.mark.parametrize("limit", [1000, 300, LARGEST_JOB])
def test_a_limit_of_memory_changes_nothing(alone, limit):
    backbone = Limited(lambda number, tokens: tokens > limit)
    assert outcome(backbone) == alone and backbone.failed
    assert sum(map(len, backbone.passes)) == sum(record.nfe for record in alone.values())


@pytest.mark.parametrize("seed", range(6))
def test_memory_that_ends_at_any_moment_changes_nothing(alone, seed):
    draws = random.Random(seed)
    backbone = Limited(lambda number, tokens: tokens > LARGEST_JOB and draws.random() < 0.3)
    assert outcome(backbone, Budget(max_rows=draws.choice([None, 40, 9]))) == alone and backbone.failed
    assert sum(map(len, backbone.passes)) == sum(record.nfe for record in alone.values())


@pytest.mark.parametrize("seed", range(3))
def test_memory_that_ends_while_logits_are_read_changes_nothing(alone, seed):
    draws, failed = random.Random(seed), []

    class LimitedHead(HashBackbone):
        def head(self, states):
            if sum(self.passes[-1]) > LARGEST_JOB and draws.random() < 0.2:
                failed.append(len(states))
                raise torch.OutOfMemoryError
            return super().head(states)

    assert outcome(LimitedHead()) == alone and failed


def test_the_ways_differ_in_what_they_say(alone):
    values = {one.log_prob for key, found in alone.items() if key[0] == "scored" for one in found.scores}
    assert len(values) == sum(len(request(i).texts) for i in SCORED)
    saved = [found.stats.get("nfe_saved") for key, found in alone.items() if key[0] == "scored"]
    assert sum(number is not None for number in saved) == 2 and any(saved)
