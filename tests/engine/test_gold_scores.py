"""The gold answer's log-probability in the passes of a row: by enumeration of a joint, and by a slow plain decoder."""

import dataclasses
import math

import pytest
import torch

from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.gold import gold_of
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_given_answers import entangled
from tests.engine.test_scheduling import MASK, PROMPTS, HashBackbone
from tests.toy import TableBackbone


def decoded(backbone, golds, prompts, *, size: int = 4096, repeat: int = 0, **options):
    """Records of rows that watch gold token ids, in the order of the prompts."""
    config = DecodingConfig.from_options(options)
    plans = [plan_row(backbone, p, config, repeat, gold=g) for p, g in zip(prompts, golds, strict=True)]
    budget = Budget(max_rows=size, max_tokens=4096)
    rows = dict(decode(Readout(backbone), enumerate(plans), budget))
    return [rows[i].generation(record_steps=True) for i in range(len(plans))]


def test_exit_at_the_first_pass_gives_the_marginals_of_the_joint():
    joint = entangled()
    for gold in [(0, 2), (1, 1), (2,)]:
        options = {"template": [{"reasoning": 2}, {"answer": 2}], "exit_threshold": 99}
        (row,) = decoded(TableBackbone(joint), [gold], [[0]], **options)
        marginals = [joint.sum(dim=[a for a in range(4) if a != 2 + i])[token] for i, token in enumerate(gold)]
        assert (row.nfe, row.exit_step) == (1, 1)
        assert row.gold_logprob == pytest.approx(sum(math.log(p) for p in marginals), abs=1e-6)


def test_exit_at_a_later_pass_gives_the_marginals_given_the_reasoning_up_to_it():
    joint = entangled()
    options = {"template": [{"reasoning": 3}, {"answer": 1}], "block_length": 1}
    (full,) = decoded(TableBackbone(joint), [(1,)], [[0]], **options)
    before, given = joint.sum(dim=(0, 1, 2)), joint[full.token_ids[0]].sum(dim=(0, 1)) / joint[full.token_ids[0]].sum()
    bounds = [torch.special.entr(table).sum().item() for table in (before, given)]
    assert bounds[0] > bounds[1] + 1e-2  # so that a threshold between them exits at the second pass
    (row,) = decoded(TableBackbone(joint), [(1,)], [[0]], exit_threshold=sum(bounds) / 2, **options)
    assert row.exit_step == 2
    assert row.gold_logprob == pytest.approx(math.log(given[1]), abs=1e-5)


def slow(prompt, region, gold_at, gold, block_length, scale):
    """One token a pass; for every gold position its log-probability in the last pass that found it masked."""

    def log_probs(canvas):
        logits = HashBackbone().read(torch.tensor(canvas)).double()
        if scale:
            bare = HashBackbone().read(torch.tensor([MASK] * len(prompt) + canvas[len(prompt) :])).double()
            logits = bare + (scale + 1) * (logits - bare)
        logits[:, MASK] = -math.inf
        return logits.log_softmax(-1)

    canvas, offset, seen = [*prompt, *region], len(prompt), {}
    while MASK in canvas[offset:]:
        masked = [i for i, token in enumerate(canvas) if token == MASK and i >= offset]
        table = log_probs(canvas)
        for place, token in zip(gold_at, gold, strict=True):
            if canvas[offset + place] == MASK:
                seen[place] = table[offset + place, token].item()
        block = (masked[0] - offset) // block_length
        entropy = torch.special.entr(table.exp()).sum(-1)
        chosen = min((i for i in masked if (i - offset) // block_length == block), key=lambda i: entropy[i].item())
        canvas[chosen] = table[chosen].argmax().item()
    return canvas[offset:], sum(seen.values())


TEMPLATE = [{"reasoning": 5}, {"answer": 3}, {"reasoning": 6}]
GOLDS = [(3 + i, 9, 4)[: 1 + i % 3] for i in range(6)]


@pytest.mark.parametrize("cfg_scale", [0.0, 0.7])
@pytest.mark.parametrize("block_length", [1, 4, 99])
def test_score_is_that_of_a_slow_decoder_at_the_last_pass_of_each_position(block_length, cfg_scale):
    options = {"template": TEMPLATE, "block_length": block_length, "cfg_scale": cfg_scale}
    rows = decoded(HashBackbone(), GOLDS, PROMPTS[:6], **options)
    for prompt, gold, row in zip(PROMPTS, GOLDS, rows, strict=False):
        places = range(5, 5 + len(gold))
        region, score = slow(prompt, [MASK] * 14, places, gold, block_length, cfg_scale)
        assert row.token_ids == region
        assert row.gold_logprob == pytest.approx(score, abs=1e-4)


WAYS = {
    "greedy": {},
    "sampled": {"temperature": 0.8, "top_k": 5},
    "med": {"sampler": "med", "entropy_threshold": 1.0},
    "an exit": {"exit_threshold": 3.0},
    "guidance": {"cfg_scale": 0.5},
    "settled": {"stop_when_settled": True},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_watching_changes_nothing_else_and_company_does_not_change_it(options):
    options = {"template": TEMPLATE, "block_length": 4, **options}
    plain = decoded(HashBackbone(), [()] * 6, PROMPTS[:6], **options)
    watched = decoded(HashBackbone(), GOLDS, PROMPTS[:6], **options)
    assert all(row.gold_logprob is None for row in plain)
    assert [dataclasses.replace(row, gold_logprob=None) for row in watched] == plain
    assert decoded(HashBackbone(), GOLDS, PROMPTS[:6], size=1, **options) == watched
    mixed = decoded(HashBackbone(), [g if i % 2 else () for i, g in enumerate(GOLDS)], PROMPTS[:6], **options)
    assert [row if i % 2 else plain[i] for i, row in enumerate(watched)] == mixed


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_caches(backbones, family, cache):
    backbone, options = backbones[family], {"template": TEMPLATE, "block_length": 4, "cache": cache}
    watched = decoded(backbone, GOLDS, PROMPTS[:6], **options)
    plain = decoded(backbone, [()] * 6, PROMPTS[:6], **options)
    assert [dataclasses.replace(row, gold_logprob=None) for row in watched] == plain
    assert decoded(backbone, GOLDS, PROMPTS[:6], size=1, **options) == watched
    assert all(row.nfe_partial and math.isfinite(row.gold_logprob) for row in watched)
    exits = [{**options, "exit_threshold": 1e9, "cache": name} for name in (cache, "none")]
    at_once = [decoded(backbone, GOLDS, PROMPTS[:6], **own) for own in exits]
    assert at_once[0] == at_once[1]  # the first pass is over the whole canvas


def test_temperature_does_not_change_what_is_read_at_a_pass():
    options = {"template": TEMPLATE, "exit_threshold": 1e9}  # the first pass is the last
    cold, hot = (decoded(HashBackbone(), GOLDS, PROMPTS[:6], temperature=t, **options) for t in (0.0, 3.0))
    assert [row.gold_logprob for row in cold] == [row.gold_logprob for row in hot]
    assert [row.token_ids for row in cold] != [row.token_ids for row in hot]


class Ending(TableBackbone):
    """Token 0 ends the text."""

    def __init__(self, joint, ends=(0,)):
        super().__init__(joint)
        self.end_token_ids = ends


SCORED = {
    "with the end behind it": ([1, 2], {}, (0,), (1, 2, 0)),
    "that fills the segment": ([1, 2, 1], {}, (0,), (1, 2, 1)),
    "where there is no end of text": ([1], {}, (), (1,)),
    "where the end is suppressed": ([1], {"suppress_tokens": [0]}, (0,), (1,)),
}


@pytest.mark.parametrize(("answer", "more", "ends", "tokens"), SCORED.values(), ids=SCORED)
def test_tokens_that_are_scored(answer, more, ends, tokens):
    config = DecodingConfig.from_options({"template": [{"reasoning": 1}, {"answer": 3}], **more})
    gold = gold_of(Ending(entangled(), ends), config, answer)
    assert (gold.token_ids, gold.unscored) == (tokens, None)


@pytest.mark.parametrize(
    ("answer", "more", "reason"),
    [
        ([1, 2, 1, 1], {}, "longer than its segment"),
        ([], {}, "empty"),
        (None, {}, "no gold answer"),
        ([1, 2], {"suppress_tokens": [2]}, "suppressed"),
    ],
)
def test_answers_without_a_score_say_why(answer, more, reason):
    config = DecodingConfig.from_options({"template": [{"reasoning": 1}, {"answer": 3}], **more})
    gold = gold_of(Ending(entangled()), config, answer)
    assert gold.token_ids == () and reason in (gold.unscored or "")
