"""What many requests take, foreseen from a few: against whole runs of the engine under a simulated clock."""

import random

import pytest
import torch

from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.likelihood import LikelihoodConfig
from lm_eval_mdlm.running.forecast import forecast
from lm_eval_mdlm.running.generation import RowRequest
from lm_eval_mdlm.running.pass_costs import Demand, Pass, PassCost, fullest_pass, num_passes
from lm_eval_mdlm.running.scoring import ScoreRequest, Text
from lm_eval_mdlm.running.sizes import Size, Sizes, spread
from lm_eval_mdlm.running.trial import LEAST_PASSES, tried
from tests.toy import RandomBackbone


BUDGETS = [Budget(max_rows=1), Budget(max_rows=5), Budget(max_tokens=150), Budget(max_rows=3, max_tokens=90)]


class Timed(RandomBackbone):
    """Its passes take a known time of a clock of its own, and nothing else does."""

    def __init__(self) -> None:
        super().__init__(vocab_size=12, scale=3.0, end_token_ids=(0,))
        self.now = 100.0

    def states(self, token_ids, lengths, wanted):
        self.now += 0.5 + 0.2 * len(lengths) + 0.01 * len(token_ids)
        return super().states(token_ids, lengths, wanted)


def rows(number: int, **options) -> list[RowRequest]:
    config = DecodingConfig.from_options({"gen_length": 12, "block_length": 6, **options})
    drawn = random.Random(7)
    return [RowRequest(prompt_ids=[1] * drawn.randrange(3, 40), config=config) for _ in range(number)]


def whole_run(questions, budget) -> tuple[float, int, int]:
    """Seconds, passes, and passes of all requests together."""
    backbone = Timed()
    done = list(answer(Readout(backbone), ((i, q.work(backbone)) for i, q in enumerate(questions)), budget))
    return backbone.now - 100.0, len(backbone.passes), sum(record.nfe for _, record in done)


def foreseen(questions, budget, number, groups=None, **limits):
    backbone = Timed()
    sizes = [Sizes(backbone).of(question) for question in questions]
    some = {i: questions[i] for i in spread(sizes, number)}
    limits = {"most_seconds": 1e9, **limits}
    trial = tried(backbone, some, budget, clock=lambda: backbone.now, **limits)
    return forecast(sizes, groups or [range(len(questions))], trial, budget), trial


@pytest.mark.parametrize("budget", BUDGETS, ids=["alone", "rows", "tokens", "both"])
def test_rows_of_known_passes_are_foreseen_exactly(budget):
    questions = rows(18, sampler="fixed_k", k=3)
    seconds, passes, nfe = whole_run(questions, budget)
    found, _ = foreseen(questions, budget, 8)
    assert found.passes == passes and found.error == 0.0
    assert sum(one.steps * one.width for one in found.demands) == nfe == 18 * 4
    assert found.seconds == pytest.approx(seconds, rel=0.03)


@pytest.mark.parametrize("budget", BUDGETS, ids=["alone", "rows", "tokens", "both"])
def test_rows_whose_passes_differ_are_foreseen_within_their_error(budget):
    questions = rows(24, sampler="med", entropy_threshold=0.9)
    seconds, passes, _ = whole_run(questions, budget)
    found, _ = foreseen(questions, budget, 12)
    assert 0.0 < found.error < 0.1
    assert found.seconds == pytest.approx(seconds, rel=max(0.05, 3 * found.error))
    assert found.passes == pytest.approx(passes, rel=max(0.1, 3 * found.error))


def test_a_trial_of_all_leaves_no_error():
    found, _ = foreseen(rows(9, sampler="med"), Budget(max_rows=2), 9)
    assert found.error == 0.0 and found.unfinished == 0


def test_when_the_time_is_up_passes_are_taken_from_the_masks_filled_so_far():
    questions = rows(20, sampler="fixed_k", k=1)
    found, trial = foreseen(questions, Budget(max_rows=5), 10, most_seconds=8.0)
    assert LEAST_PASSES <= len(trial.passes) < 12 and trial.seconds < 12.0
    assert found.unfinished == 5 and {own.nfe for own in trial.watched.values()} == {None}
    assert found.passes == 4 * 12
    none_done, _ = foreseen(questions, Budget(max_rows=5), 10, most_seconds=0.0)
    assert none_done.passes == 4 * 12


def test_guidance_is_counted_twice_in_nfe_and_in_tokens():
    questions = rows(12, sampler="fixed_k", k=2, cfg_scale=0.5)
    seconds, passes, nfe = whole_run(questions, Budget(max_rows=3))
    found, _ = foreseen(questions, Budget(max_rows=3), 6)
    assert found.nfe_per_pass == 2 and 2 * sum(one.steps for one in found.demands) == nfe
    assert (found.passes, found.seconds) == (passes, pytest.approx(seconds, rel=0.05))


@pytest.mark.parametrize("budget", BUDGETS[1:3], ids=["rows", "tokens"])
@pytest.mark.parametrize("options", [{"mc_num": 9}, {"likelihood": "l2r"}], ids=str)
def test_likelihoods_take_their_planned_passes(budget, options):
    drawn, config = random.Random(3), DecodingConfig.from_options({})
    likelihood = LikelihoodConfig.from_options(options)
    texts = [
        Text(context_ids=[1] * drawn.randrange(2, 30), text_ids=[2 + drawn.randrange(8)] * drawn.randrange(1, 7))
        for _ in range(12)
    ]
    questions = [ScoreRequest(texts=(text,), config=config, likelihood=likelihood) for text in texts]
    seconds, passes, nfe = whole_run(questions, budget)
    found, _ = foreseen(questions, budget, 6)
    assert sum(one.steps * one.width for one in found.demands) == pytest.approx(nfe)
    assert found.passes == pytest.approx(passes, rel=0.12)
    assert found.seconds == pytest.approx(seconds, rel=0.12)


def test_a_cache_computes_its_share_of_the_canvases(backbones):
    backbone, questions = backbones["llada"], rows(4, sampler="fixed_k", k=3, cache="prefix")
    sizes = [Sizes(backbone).of(question) for question in questions]
    trial = tried(backbone, dict(enumerate(questions)), Budget(max_rows=2), most_seconds=1e9)
    found = forecast(sizes, [range(4)], trial, Budget(max_rows=2))
    computed = sum(one.tokens for one in trial.passes)
    assert sum(one.steps * one.tokens for one in found.demands) == pytest.approx(computed)
    assert computed < sum(size.tokens * 4 for size in sizes)
    assert [one.held for one in found.demands] == [size.tokens for size in sizes]


def test_groups_take_their_own_passes():
    slow, fast = rows(8, sampler="fixed_k", k=1), rows(8, sampler="fixed_k", k=4)
    found, _ = foreseen([*slow, *fast], Budget(max_rows=4), 6, groups=[range(8), range(8, 16)])
    assert [round(one.steps) for one in found.demands] == [12] * 8 + [4] * 8  # blocks of 6: 4 and 2


def test_costs_are_recovered_and_none_is_negative():
    drawn = random.Random(0)
    passes = [
        Pass(jobs, tokens := jobs * drawn.randrange(10, 90), 3 + 0.5 * jobs + 0.1 * tokens) for jobs in range(1, 9)
    ]
    cost = PassCost.fitted([Pass(4, 70, 99.0), *passes, Pass(4, 70, 3 + 2 + 7)])  # the first of its shape is left out
    assert (cost.per_pass, cost.per_job, cost.per_token) == pytest.approx((3, 0.5, 0.1))
    falling = PassCost.fitted([Pass(1, 10, 5.0), Pass(2, 20, 4.0), Pass(3, 31, 3.0)])
    assert min(falling.per_pass, falling.per_job, falling.per_token) == 0.0
    demands = [Demand(steps=1, tokens=tokens) for tokens in (10, 20, 31)]
    assert falling.seconds(3, demands) >= 12.0 - 1e-9
    assert PassCost.fitted([]) == PassCost(per_pass=0.0, per_job=0.0, per_token=0.0)


def test_the_fullest_pass_has_the_longest_canvases():
    demands = [Demand(steps=2, tokens=tokens) for tokens in (5, 50, 20, 30)]
    assert fullest_pass(demands, Budget(max_rows=2)) == 80
    assert fullest_pass(demands, Budget(max_tokens=60)) == 60
    assert fullest_pass(demands, Budget(max_tokens=40)) == 50  # a single one is always admitted
    assert fullest_pass([Demand(steps=1, width=9, tokens=10)], Budget(max_rows=4)) == 40


def test_nothing_takes_no_pass():
    assert num_passes([], Budget()) == 0 and num_passes([Demand(steps=0, tokens=9)], Budget(max_rows=2)) == 0


def test_what_is_tried_is_spread_over_lengths_wherever_it_ends():
    sizes = [Size(4, False, tokens, 0, False) for tokens in random.Random(1).sample(range(1000), 100)]
    chosen = spread(sizes, 20)
    ranks = sorted(sorted(range(100), key=lambda i: sizes[i].tokens).index(i) for i in chosen)
    assert ranks == [5 * place + 2 for place in range(20)]
    assert chosen != sorted(chosen, key=lambda i: sizes[i].tokens) and spread(sizes, 20) == chosen
    assert sorted(spread(sizes, 1000)) == list(range(100))


def test_nothing_is_changed_by_being_watched():
    questions = rows(7, sampler="med")
    backbone = Timed()
    watched = tried(backbone, dict(enumerate(questions)), Budget(max_rows=3), most_seconds=1e9)
    plain = [record.nfe for _, record in sorted(
        answer(Readout(backbone), ((i, q.work(backbone)) for i, q in enumerate(questions)), Budget(max_rows=1)),
        key=lambda pair: pair[0],
    )]  # fmt: skip
    assert [watched.watched[i].nfe for i in range(7)] == plain
    assert [watched.watched[i].passes for i in range(7)] == plain


class Sometimes(Timed):
    """No numbers for prompts of one length."""

    def states(self, token_ids, lengths, wanted):
        states = super().states(token_ids, lengths, wanted)
        owners = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(list(lengths)))[wanted]
        states[torch.tensor([length == 9 + 12 for length in lengths])[owners]] = torch.nan
        return states


def test_requests_without_numbers_are_counted_and_no_others_are():
    config = DecodingConfig.from_options({"gen_length": 12, "k": 4})
    questions = {i: RowRequest(prompt_ids=[1] * length, config=config) for i, length in enumerate((5, 9, 7, 9, 6))}
    trial = tried(Sometimes(), questions, Budget(max_rows=3), most_seconds=1e9)
    assert trial.num_failed == 2
    assert {i: own.nfe for i, own in trial.watched.items()} == {0: 3, 1: None, 2: 3, 3: None, 4: 3}
