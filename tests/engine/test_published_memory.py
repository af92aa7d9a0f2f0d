"""Samplers with a memory under the rules over all samplers, against plain loops, in all that a row may ask for."""

import pytest

from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.options.samplers import SAMPLERS
from tests.engine import test_samplers
from tests.engine.test_published_loops import (
    MASK,
    OVER_ALL,
    PROMPTS,
    REQUESTS,
    SAMPLER_OPTIONS,
    decoded,
    region_of,
    slow_network,
    ways_of,
)
from tests.published import Text
from tests.published_memory import decode


OPTIONS = [{"sampler": name.split()[0], **own} for name, own in test_samplers.SAMPLERS.items()]
OPTIONS += [{"sampler": "local_leap", "confidence_threshold": 0.5, "relaxed_threshold": 0.2, "block_length": 5}]
OPTIONS += [{"sampler": "klass", "confidence_threshold": 0.2, "kl_threshold": 3.0, "history": 1, "block_length": 7}]


def expected(prompt, request, options) -> Text:
    region, answer = region_of(request)
    key = RowKey.of(request.get("seed", 0), prompt, region, 0)
    slow = slow_network(request.get("cfg_scale", 0.0), (MASK, *request.get("suppress_tokens", ())))
    return decode(slow, prompt, region, {**request, **options}, ways_of(key, answer, request, options), key)


def compare(request, options, prompts):
    for prompt, row in zip(prompts, decoded(prompts, request, options, None), strict=True):
        text = expected(prompt, request, options)
        assert row.token_ids == text.region, prompt
        assert row.commit_steps == [text.committed_in.get(i) for i in range(len(text.region))]
        assert (row.nfe, row.stop, row.exit_step) == (text.steps * text.cost, text.stop, text.exit_step)


PAIRS = [(n, name) for n in range(len(OPTIONS)) for i, name in enumerate(REQUESTS) if (n + i) % 3 == 0]


@pytest.mark.parametrize(("number", "request_name"), PAIRS, ids=str)
def test_rows_are_those_of_the_loop(number, request_name):
    turn = number + list(REQUESTS).index(request_name)  # so that every rule over all meets every sampler
    over = OVER_ALL[(number + turn // 3) % len(OVER_ALL)]
    compare(REQUESTS[request_name], {**OPTIONS[number], **over}, [PROMPTS[turn % len(PROMPTS)]])


@pytest.mark.slow
@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_all_rows_are_those_of_the_loop(options, request_name):
    for over in OVER_ALL:
        compare(REQUESTS[request_name], {**options, **over}, PROMPTS)


def test_every_sampler_stands_beside_a_loop_of_this_kind():
    assert {own["sampler"] for own in (*OPTIONS, *SAMPLER_OPTIONS)} == set(SAMPLERS) - {"edit"}  # test_grid.py


@pytest.mark.parametrize("over", OVER_ALL[1:], ids=str)
def test_the_rules_change_most_rows(over):
    pairs = [
        (expected(prompt, REQUESTS["free"], own), expected(prompt, REQUESTS["free"], {**own, **over}))
        for prompt in PROMPTS[:2]
        for own in OPTIONS
    ]
    assert sum(a.committed_in != b.committed_in for a, b in pairs) > len(pairs) / 4


def test_every_sampler_meets_every_rule_in_the_short_part():
    met = {(OPTIONS[n]["sampler"], (n + (n + list(REQUESTS).index(name)) // 3) % len(OVER_ALL)) for n, name in PAIRS}
    assert len(met) == len({own["sampler"] for own in OPTIONS}) * len(OVER_ALL)
