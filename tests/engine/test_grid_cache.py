"""The exact cache of block-causal networks: the same tokens, counts and entropies as passes over the whole prompt."""

import random

import pytest

from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_cache_budget import Watched


SAMPLERS = [
    {"sampler": "med", "entropy_threshold": 2.0},
    {"k": 3},
    {"steps": 3, "score": "random"},
    {"sampler": "confidence_threshold", "confidence_threshold": 0.3},
    {"sampler": "klass", "confidence_threshold": 0.2, "kl_threshold": 1.0},
    {"sampler": "credit", "confidence_threshold": 0.5},
    {"sampler": "dus"},
    {"sampler": "edit", "confidence_threshold": 0.3, "edit_threshold": 0.1, "max_edit_passes": 3},
    {"sampler": "local_leap", "confidence_threshold": 0.5, "relaxed_threshold": 0.2},
]


@pytest.fixture
def grid(backbone, monkeypatch):
    monkeypatch.setattr(backbone, "end_token_ids", tuple(range(5, 25)))  # so many that some rows settle
    yield backbone
    backbone.grid_block = None


def drawn_options(rng: random.Random) -> dict:
    options = dict(rng.choice(SAMPLERS))
    if rng.random() < 0.5:
        options["template"] = [{"reasoning": rng.randint(1, 20)}, {"text": "is "}, {"answer": rng.randint(1, 8)}]
        options |= {"exit_threshold": rng.uniform(0, 15)} if rng.random() < 0.5 else {}
    else:
        options["gen_length"] = rng.randint(1, 40)
    options |= {"cfg_scale": 0.5} if rng.random() < 0.25 else {}
    options |= {"temperature": 0.7} if rng.random() < 0.25 else {}
    options |= {"max_nfe": rng.randint(2, 9)} if rng.random() < 0.25 else {}
    options |= {"stop_when_settled": False} if rng.random() < 0.3 else {}
    return options


def compared(backbone, rng: random.Random, ways) -> list:
    """A few rows, the same in every way to run them."""
    backbone.grid_block = rng.choice([4, 8, 32])
    prompts = [[rng.randrange(400) for _ in range(rng.randint(1, 40))] for _ in range(4)]
    options = drawn_options(rng)
    found = [generate(backbone, prompts, record_steps=True, **way, **options) for way in ways]
    assert all(rows == found[0] for rows in found), (backbone.grid_block, options, prompts)
    assert all(row.nfe_partial == 0 for row in found[0])
    return found[0]


@pytest.mark.parametrize("seed", range(2))
def test_the_cache_changes_nothing(grid, seed):
    compared(grid, random.Random(seed), [{"cache": "none", "batch_size": 1}, {"batch_size": 16}])


@pytest.mark.slow
def test_the_cache_changes_nothing_in_many_rows(grid):
    rng, ways = (
        random.Random(7),
        [{"cache": cache, "batch_size": size} for cache in ("none", "exact") for size in (1, 16)],
    )
    rows = [row for _ in range(80) for row in compared(grid, rng, ways)]
    assert {row.stop for row in rows} == {"complete", "settled", "exit", "cap"}


PROMPTS = [[3 + (7 * i + 11 * j) % 380 for j in range(30 + 5 * i % 40)] for i in range(5)]
OPTIONS = {"gen_length": 14, "k": 2, "stop_when_settled": False}


def plans_of(backbone, **options):
    config = DecodingConfig.from_options({**OPTIONS, **options})
    return [plan_row(backbone, prompt, config) for prompt in PROMPTS]


def decoded(backbone, plans, budget):
    done = dict(decode(Readout(backbone), enumerate(plans), budget))
    assert not backbone._memory._taken
    return [done[i].generation(record_steps=True) for i in range(len(plans))]


def test_a_pass_computes_what_is_not_final_and_nothing_behind_its_block(grid, monkeypatch):
    grid.grid_block, seen = 4, []
    run = grid.partial_states
    monkeypatch.setattr(
        grid, "partial_states", lambda parts: seen.extend(part.positions.tolist() for part in parts) or run(parts)
    )
    (row,) = generate(grid, [PROMPTS[0]], **OPTIONS, record_steps=True)  # 30 tokens: blocks end at 32, 36, 40, 44
    blocks = [32, 36, 40, 44]
    passes = [min(blocks.index(end) for end in blocks if 30 + i < end) for i in range(14)]
    by_pass = sorted({(step, block) for step, block in zip(row.commit_steps, passes, strict=True)})
    back = 4 * grid.lookback  # a shifted family computes the block before, which holds the state that is read
    expected, final = [], 0
    for _, block in by_pass:
        expected.append(list(range(final, blocks[block])))
        final = blocks[block] - 4 - back
    assert seen == expected and len(seen) == row.nfe == 7


def test_no_limit_changes_a_result(grid):
    grid.grid_block = 4
    expected = decoded(grid, plans_of(grid, cache="none"), Budget())
    for budget in (Budget(max_tokens=60), Budget(max_tokens=1, max_held=150)):
        assert decoded(grid, plans_of(grid), budget) == expected


def test_a_row_holds_its_whole_canvas_twice_under_guidance_and_memory_that_ends_changes_nothing(grid, monkeypatch):
    grid.grid_block = 8
    plans = plans_of(grid, cfg_scale=0.5)
    assert [plan.held_positions for plan in plans] == [2 * (len(prompt) + 14) for prompt in PROMPTS]
    expected = decoded(grid, plans_of(grid, cfg_scale=0.5, cache="none"), Budget())
    draws = random.Random(3)
    watched = Watched(grid, monkeypatch, lambda tokens, held: tokens > 170 and draws.random() < 0.3, room=350)
    assert decoded(grid, plans, Budget()) == expected
    assert watched.failed and max(held for *_, held in watched.passes) <= 350


def test_later_passes_are_small_so_that_more_rows_share_them(grid, monkeypatch):
    grid.grid_block = 4
    watched = Watched(grid, monkeypatch)
    decoded(grid, plans_of(grid), Budget(max_tokens=80))
    assert all(tokens <= 80 for rows, tokens, _ in watched.passes if rows > 1)
    assert max(rows for rows, *_ in watched.passes) > 3  # by whole canvases it would be one


def test_rows_of_a_network_that_keeps_nothing_compute_all_in_every_pass(grid, monkeypatch, caplog):
    grid.grid_block = 4
    expected = generate(grid, PROMPTS, **OPTIONS)
    monkeypatch.setattr(grid, "memory_bytes_per_token", None)
    assert generate(grid, PROMPTS, **OPTIONS) == expected
    assert "keeps nothing between passes" in caplog.text


LIKELIHOODS = [
    {"mc_num": 7, "cfg_scale": 0.5},
    *(
        pytest.param(options, marks=pytest.mark.slow)
        for options in (
            {"mc_num": 40, "mc_se": 2.0},
            {"likelihood": "l2r"},
            {"likelihood": "dream", "mc_num": 8, "mc_batch": 4},
            {"likelihood": "path", "sampler": "med", "entropy_threshold": 2.0},
        )
    ),
]


@pytest.mark.parametrize("options", LIKELIHOODS, ids=str)
def test_scores_share_what_is_before_a_block_and_stay_the_same(grid, monkeypatch, options):
    grid.grid_block, seen = 4, []
    pairs = [(prompt, PROMPTS[-1][: 5 + 2 * n]) for n, prompt in enumerate(PROMPTS[:3])]
    alone = loglikelihood(grid, pairs, cache="none", batch_size=1, greedy=True, **options)
    run = grid.partial_states
    monkeypatch.setattr(
        grid, "partial_states", lambda parts: seen.extend(len(part.positions) for part in parts) or run(parts)
    )
    assert loglikelihood(grid, pairs, batch_size=16, greedy=True, **options) == alone
    assert loglikelihood(grid, pairs, batch_size=2, greedy=True, **options) == alone
    assert not grid._memory._taken and sum(size <= 8 + 4 * grid.lookback for size in seen) > len(seen) / 2
