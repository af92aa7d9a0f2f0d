"""Rows with a cache: what a pass computes and what rows hold are limited apart, and neither limit changes a result."""

import random

import pytest
import torch

from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.budget import HELD_PER_TOKEN, budget_of
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_scheduling import HashBackbone


PROMPTS = [[3 + (7 * i + 11 * j) % 380 for j in range(30 + 5 * i % 40)] for i in range(12)]


def plans_of(backbone, kinds=("dual",), prompts=PROMPTS, **options):
    fixed = {"gen_length": 16, "block_length": 8, "k": 2, **options}
    configs = [DecodingConfig.from_options({**fixed, "cache": kind}) for kind in kinds]
    return [plan_row(backbone, prompt, configs[i % len(configs)]) for i, prompt in enumerate(prompts)]


class Watched:
    """Notes what every pass computes and holds, and lets passes and slots fail for lack of memory."""

    def __init__(self, backbone, monkeypatch, fails=lambda tokens, held: False, room=float("inf")) -> None:
        self.backbone, self.fails, self.room = backbone, fails, room
        self.passes: list[tuple[int, int, int]] = []  # rows, tokens computed, positions held
        self.given_up = self.failed = 0
        for name in ("states", "partial_states", "reserve", "give_up"):
            self.original = {**getattr(self, "original", {}), name: getattr(backbone, name)}
            monkeypatch.setattr(backbone, name, getattr(self, name))

    @property
    def held(self) -> int:
        return sum(stop - start for start, stop in self.backbone._memory._taken.items())

    def note(self, rows, tokens) -> None:
        if self.fails(tokens, self.held):
            self.failed += 1
            raise torch.OutOfMemoryError("no room")
        self.passes.append((rows, tokens, self.held))

    def states(self, token_ids, lengths, wanted):
        self.note(len(lengths), len(token_ids))
        return self.original["states"](token_ids, lengths, wanted)

    def partial_states(self, parts):
        self.note(len(parts), sum(len(part.token_ids) for part in parts))
        return self.original["partial_states"](parts)

    def reserve(self, length):
        if self.held + length > self.room:
            self.failed += 1
            raise RuntimeError("CUDA error: out of memory")
        return self.original["reserve"](length)

    def give_up(self):
        self.given_up += 1
        return self.original["give_up"]()


def decoded(backbone, plans, budget):
    done = dict(decode(Readout(backbone), enumerate(plans), budget))
    assert not backbone._memory._taken
    return [done[i].generation(record_steps=True) for i in range(len(plans))]


@pytest.fixture(scope="module")
def all_alone(backbones):
    kinds = ("dual", "prefix", "none")
    return {name: decoded(own, plans_of(own, kinds), Budget(max_rows=1)) for name, own in backbones.items()}


@pytest.fixture
def alone(backbone, family, all_alone):
    return plans_of(backbone, ("dual", "prefix", "none")), all_alone[family]


def test_partial_passes_fill_the_budget_of_tokens(backbone, monkeypatch):
    plans = plans_of(backbone)
    watched = Watched(backbone, monkeypatch)
    decoded(backbone, plans, Budget(max_tokens=200, max_held=2000))
    assert all(tokens <= 200 for rows, tokens, _ in watched.passes if rows > 1)
    # A row computes 8 or 9 tokens of about 60 in three passes of four: while rows wait, there is always one that fits.
    busy = watched.passes[1 : len(watched.passes) // 2]
    assert sum(tokens for _, tokens, _ in busy) / len(busy) > 0.6 * 200
    assert max(rows for rows, *_ in watched.passes) > 5  # by whole canvases it would have been 3


@pytest.mark.parametrize("limits", [{"max_held": 300}, {"max_held": 300, "max_tokens": 150}, {"max_held": 1}])
def test_rows_hold_no_more_than_they_may(backbone, monkeypatch, limits):
    plans = plans_of(backbone, ("dual", "prefix"))
    watched = Watched(backbone, monkeypatch)
    decoded(backbone, plans, Budget(**limits))
    longest = max(plan.canvas_length for plan in plans)
    most = max(held for _, _, held in watched.passes)
    assert most <= max(limits["max_held"], longest) and (limits["max_held"] > 1) == (most > longest)


BUDGETS = [
    Budget(max_tokens=90),
    Budget(max_tokens=170, max_held=400),
    Budget(max_tokens=1, max_held=1000),
    Budget(max_rows=7, max_tokens=120),
    Budget(max_tokens=300, max_held=300, refill=False),
]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_no_limit_changes_a_result(backbone, alone, budget):
    plans, expected = alone
    assert decoded(backbone, plans, budget) == expected


def test_guidance_counts_twice_in_both(backbone, monkeypatch):
    plans = plans_of(backbone, cfg_scale=1.0, prompts=PROMPTS[:4])
    assert all(plan.held_positions == 2 * plan.canvas_length for plan in plans)
    watched = Watched(backbone, monkeypatch)
    decoded(backbone, plans, Budget(max_tokens=200, max_held=2 * 2 * max(plan.canvas_length for plan in plans)))
    assert max(held for *_, held in watched.passes) > max(plan.held_positions for plan in plans)
    assert all(tokens <= 200 for rows, tokens, _ in watched.passes if rows > 2)


def test_every_row_gets_its_turn_while_others_wait(backbone, monkeypatch):
    plans = plans_of(backbone, prompts=PROMPTS[:6])
    passes = sum(row.nfe for row in decoded(backbone, plans, Budget()))
    watched = Watched(backbone, monkeypatch)
    finished = [i for i, _ in decode(Readout(backbone), enumerate(plans), Budget(max_rows=6, max_tokens=95))]
    assert sorted(finished) == list(range(6)) and sum(rows for rows, *_ in watched.passes) == passes


@pytest.mark.parametrize("seed", range(2))
def test_memory_that_ends_at_any_moment_changes_no_result(backbone, alone, monkeypatch, seed):
    plans, expected = alone
    draws = random.Random(seed)
    Watched(backbone, monkeypatch, lambda tokens, held: tokens > 90 and draws.random() < 0.15)
    budget = draws.choice([Budget(), Budget(max_rows=9), Budget(max_tokens=260, max_held=700)])
    assert decoded(backbone, plans, budget) == expected


@pytest.mark.parametrize("room", [130, 420])
def test_slots_that_do_not_fit_beside_others_wait_until_those_are_given_back(backbone, alone, monkeypatch, room):
    plans, expected = alone
    watched = Watched(backbone, monkeypatch, room=room)
    assert decoded(backbone, plans, Budget()) == expected
    assert watched.failed and max(held for *_, held in watched.passes) <= room


@pytest.mark.parametrize("most", [260, 330])
def test_passes_that_do_not_fit_beside_what_is_held_wait_until_it_is_given_back(backbone, alone, monkeypatch, most):
    plans, expected = alone
    watched = Watched(backbone, monkeypatch, lambda tokens, held: tokens + held > most)
    assert decoded(backbone, plans, Budget()) == expected
    assert watched.failed


def test_a_row_that_does_not_fit_lets_all_go_first_that_hold_slots_also_those_set_aside_before(backbone, monkeypatch):
    plans = plans_of(backbone, prompts=[[5] * 30, [6] * 31, [7] * 32, [8] * 100], k=1)
    expected = decoded(backbone, plans, Budget(max_rows=1))
    asked = []

    def fails(tokens, held):
        asked.append(tokens)
        # The first passes of four rows fit; then every pass of more than one row fails for a while, and the last row's
        # second whole pass does not fit as long as any other row holds its slots.
        return (9 < len(asked) < 14 and tokens > 12) or (tokens > 100 and len(asked) > 9 and held > 116)

    Watched(backbone, monkeypatch, fails)
    assert decoded(backbone, plans, Budget()) == expected


def test_a_row_that_never_fits_is_refused_after_all_was_given_up(backbone, monkeypatch):
    plans = plans_of(backbone, prompts=[[5] * 20, [5] * 90, [5] * 20])
    watched = Watched(backbone, monkeypatch, room=100)
    with pytest.raises(UsageError, match="a row of 106 canvas tokens .* even alone"):
        decoded(backbone, plans, Budget())
    assert watched.given_up and watched.held == 0


class Hoarder(HashBackbone):
    """Has room for `limit` tokens once it has given up what it kept, which it collects again in every pass."""

    def __init__(self, limit: int, kept: int) -> None:
        super().__init__()
        self.limit, self.kept, self.hoard, self.given_up = limit, kept, 0, 0

    def states(self, token_ids, lengths, wanted):
        if len(token_ids) + self.hoard > self.limit:
            raise torch.OutOfMemoryError("no room")
        self.hoard = self.kept
        return super().states(token_ids, lengths, wanted)

    def give_up(self):
        had, self.hoard = self.hoard, 0
        self.given_up += had > 0
        return had > 0


def test_what_only_saves_time_is_given_up_before_a_pass_is_made_smaller(caplog):
    backbone = Hoarder(limit=120, kept=30)
    plans = [plan_row(backbone, [7] * 6, DecodingConfig.from_options({"gen_length": 24, "k": 6})) for _ in range(4)]
    done = dict(decode(Readout(backbone), enumerate(plans), Budget()))
    assert all(row.steps == 4 for row in done.values())
    assert backbone.passes == [[30] * 4] * 4 and backbone.given_up == 3
    assert "recordings and unused slots are given up" in caplog.text and "at most" not in caplog.text


def test_a_single_row_is_refused_only_when_nothing_is_left_to_give_up():
    backbone = Hoarder(limit=45, kept=30)
    (plan,) = [plan_row(backbone, [7] * 6, DecodingConfig.from_options({"gen_length": 24}))]
    assert len(list(decode(Readout(backbone), [(0, plan)], Budget()))) == 1 and backbone.given_up == 23
    with pytest.raises(UsageError, match="even alone"):
        list(decode(Readout(Hoarder(limit=29, kept=9)), [(0, plan)], Budget()))


def test_automatic_budget_leaves_room_for_a_whole_pass_and_gives_the_rest_to_what_is_held(monkeypatch, backbone):
    assert budget_of(backbone, "auto", cached=True) == Budget(max_tokens=512, max_held=512 * HELD_PER_TOKEN)
    assert budget_of(backbone, "auto") == Budget(max_tokens=512)
    toy = HashBackbone()
    toy.device, toy.bytes_per_token, toy.memory_bytes_per_token = torch.device("cuda", 0), 1000, 500
    sizes = {"mem_get_info": (10**7, 10**8), "memory_reserved": 0, "memory_allocated": 0}
    for name, value in sizes.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    found = budget_of(toy, "auto", cached=True)
    assert found == Budget(max_tokens=5333, max_held=5334)  # 8,000,000 / 1500, and (8,000,000 - 5,333,000) / 500
    sizes["mem_get_info"] = (10**9, 10**9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    assert budget_of(toy, "auto", cached=True) == Budget(max_tokens=16384, max_held=16384 * HELD_PER_TOKEN)
