"""What watches block-causal rows without changing them: gold scores, recordings, and exits that are only foreseen."""

import dataclasses
import math
import random

import pytest

from lm_eval_mdlm.decoding.exits import EntropyExit, StableExit
from lm_eval_mdlm.engine.decode import decoding
from lm_eval_mdlm.engine.foresight import foreseeing
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.recorded import decoding_on_record
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_grid import expected, network


SIZE = 4
TEMPLATE = [{"reasoning": 9}, {"text": "ab"}, {"answer": 5}]
CASES = [
    {"k": 2},
    {"sampler": "med", "entropy_threshold": 1.3},
    {"k": 1, "exit_threshold": 8.0},
    {"k": 2, "max_nfe": 4},
    {"k": 1, "cfg_scale": 0.5},
]


def plan_of(prompt, gold=(), **options):
    config = DecodingConfig.from_options({"template": TEMPLATE, "stop_when_settled": False, **options})
    return plan_row(network(SIZE), prompt, config, gold=gold)


def result(work):
    ((_, found),) = answer(Readout(network(SIZE)), [(0, work)], Budget())
    return found


PROMPTS = [[1] * (1 + n) + [n] for n in range(4)]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_gold_tokens_are_read_in_the_passes_that_hold_their_blocks(options):
    asked = {name: options[name] for name in ("exit_threshold", "max_nfe", "cfg_scale") if name in options}
    sampler = {name: value for name, value in options.items() if name not in asked}
    for prompt in PROMPTS:
        gold = [random.Random(prompt[-1]).randrange(12) for _ in range(4)]
        row = result(decoding(plan_of(prompt, gold, **options))).generation(False)
        text = expected(SIZE, prompt, {"template": TEMPLATE, "stop_when_settled": False, **asked}, sampler)
        seen = [text.seen.get(11 + i) for i in range(4)]
        assert all(seen)
        log_prob = math.fsum(own[token] for own, token in zip(seen, gold, strict=True))
        assert row.gold_logprob == pytest.approx(log_prob, abs=1e-4)


@pytest.mark.parametrize("options", CASES, ids=str)
def test_recorded_rows_are_the_same_and_know_where_the_answer_was_not_seen(options):
    for prompt in PROMPTS:
        row = result(decoding_on_record(plan_of(prompt, **options)))
        assert row.generation(True) == result(decoding(plan_of(prompt, **options))).generation(True)
        first = row.steps_taken[0].answer_entropy
        assert (first is None) == ("exit_threshold" not in options) and not any(s.is_partial for s in row.steps_taken)


def test_foreseen_exits_are_those_of_rows_that_end_by_them():
    rules = [EntropyExit(6.0), EntropyExit(9.0), EntropyExit(0.0), StableExit(2)]
    for prompt in PROMPTS:
        plan = plan_of(prompt, k=1)
        seen = result(foreseeing(plan, rules))
        for rule, found in zip(rules, seen.exits, strict=True):
            row = result(decoding(dataclasses.replace(plan, exit_rule=rule)))
            assert (found and found.step) == row.exit_step
            if found:
                assert list(found.answer) == row.region_ids[11:]
        assert seen.answer == tuple(result(decoding(plan)).region_ids[11:])
