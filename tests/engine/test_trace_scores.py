"""Trace scores are exactly the conditionals of an explicit joint, and do not depend on what is scored beside them."""

import math
import random

import pytest
import torch

from lm_eval_mdlm.running.traces import score_traces
from tests.engine.test_scheduling import MASK, PROMPTS, VOCAB, HashBackbone
from tests.toy import TableBackbone


END = 2


def entangled(length: int) -> torch.Tensor:
    """A joint of tokens out of three, none independent of another."""
    weights = torch.rand((3,) * length, generator=torch.Generator().manual_seed(length), dtype=torch.float64) ** 4
    return weights / weights.sum()


def table(length: int) -> TableBackbone:
    backbone = TableBackbone(entangled(length))
    backbone.end_token_ids = (END,)
    return backbone


def conditional(joint: torch.Tensor, wanted: dict[int, int], given: dict[int, int]) -> float:
    """p(tokens at some positions | tokens at others), by summing over all sequences."""

    def mass(fixed: dict[int, int]) -> float:
        return joint[tuple(fixed.get(i, slice(None)) for i in range(joint.ndim))].sum().item()

    return mass({**wanted, **given}) / mass(given)


# Template, positions of reasoning, positions of the answer, gold answer, tokens scored with it.
LAYOUTS = {
    "full": ([{"reasoning": 3}, {"answer": 2}], [0, 1, 2], [3, 4], [1, 0], [1, 0]),
    "with its end": ([{"reasoning": 2}, {"answer": 2}], [0, 1], [2, 3], [1], [1, END]),
    "no further than its end": ([{"reasoning": 2}, {"answer": 4}], [0, 1], [2, 3, 4, 5], [1, 0], [1, 0, END]),
    "between": ([{"reasoning": 2}, {"answer": 2}, {"reasoning": 1}], [0, 1, 4], [2, 3], [0], [0, END]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("likelihood", ["one_pass", "l2r"])
def test_scores_equal_the_exact_conditionals_after_every_prefix(layout, likelihood):
    template, reasoning, places, answer, scored = LAYOUTS[layout]
    trace = [1, 2, 0][: len(reasoning)]
    joint = entangled(len(reasoning) + len(places))
    prefixes = list(range(len(reasoning) + 1))
    (found,) = score_traces(
        table(joint.ndim), [[0]], [trace], [answer], prefixes=[prefixes], likelihood=likelihood, template=template
    )
    assert found.prefix_tokens == tuple(prefixes)
    for number, log_prob in zip(prefixes, found.log_probs, strict=True):
        seen = dict(zip(reasoning[:number], trace, strict=False))
        gold = dict(zip(places, scored, strict=False))
        if likelihood == "l2r":
            exact = math.log(conditional(joint, gold, seen))
        else:
            exact = sum(math.log(conditional(joint, {place: token}, seen)) for place, token in gold.items())
        assert log_prob == pytest.approx(exact, abs=1e-5)
    assert found.nfe == len(prefixes) * (len(scored) if likelihood == "l2r" else 1)
    assert len({round(log_prob, 4) for log_prob in found.log_probs}) == len(prefixes)


def test_without_prefixes_the_whole_reasoning_is_scored_after():
    template, _, _, answer, _ = LAYOUTS["full"]
    (whole,) = score_traces(table(5), [[0]], [[1, 2, 0]], [answer], template=template)
    (asked,) = score_traces(table(5), [[0]], [[1, 2, 0]], [answer], prefixes=[[1, 3]], template=template)
    assert whole.prefix_tokens == (3,) and whole.log_probs == asked.log_probs[1:]
    (shorter,) = score_traces(table(5), [[0]], [[1]], [answer], template=template)
    assert shorter.log_probs == asked.log_probs[:1]


def test_reasoning_that_was_left_masked_stays_masked():
    template, _, _, answer, _ = LAYOUTS["full"]
    joint, backbone = entangled(5), table(5)
    trace = [1, backbone.mask_token_id, 0]
    (found,) = score_traces(backbone, [[0]], [trace], [answer], likelihood="l2r", template=template)
    exact = math.log(conditional(joint, {3: 1, 4: 0}, {0: 1, 2: 0}))
    assert found.log_probs[0] == pytest.approx(exact, abs=1e-5)


TEMPLATE = [{"reasoning": 4}, {"answer": 4}]


def slowly(prompt, trace, prefix, answer, *, scale, suppressed, chain):
    """Passes over plain lists, one canvas each."""
    region = [*trace[:prefix], *[MASK] * (4 - prefix), *[MASK] * 4]
    scored = [*answer, 1][:4] if 1 not in suppressed else answer
    total = 0.0
    for i, token in enumerate(scored):
        canvas = [*prompt, *region]
        if chain:
            canvas[len(prompt) + 4 : len(prompt) + 4 + i] = scored[:i]
        logits = HashBackbone().read(torch.tensor(canvas)).double()
        if scale:
            bare = HashBackbone().read(torch.tensor([MASK] * len(prompt) + canvas[len(prompt) :])).double()
            logits = bare + (scale + 1) * (logits - bare)
        logits[:, [MASK, *suppressed]] = -math.inf
        total += logits.log_softmax(-1)[len(prompt) + 4 + i, token].item()
    return total


TRACES = [[3 + (5 * i + j) % 30 for j in range(4)] for i in range(len(PROMPTS))]
ANSWERS = [[(7 * i + j) % 30 + 5 for j in range(1 + i % 4)] for i in range(len(PROMPTS))]
PREFIXES = [[0, 4] if i % 2 else [3, 1, 3] for i in range(len(PROMPTS))]


@pytest.mark.parametrize("likelihood", ["one_pass", "l2r"])
@pytest.mark.parametrize("scale", [0.0, 0.7])
@pytest.mark.parametrize("suppressed", [[], [3, 2], [1]], ids=str)
def test_distributions_are_those_of_decoding(likelihood, scale, suppressed):
    """Without the mask and suppressed tokens, under guidance; an end of text that cannot be proposed is not scored."""
    options = {"template": TEMPLATE, "cfg_scale": scale, "suppress_tokens": suppressed, "likelihood": likelihood}
    found = score_traces(HashBackbone(), PROMPTS[:6], TRACES[:6], ANSWERS[:6], prefixes=PREFIXES[:6], **options)
    for i, own in enumerate(found):
        exact = [
            slowly(PROMPTS[i], TRACES[i], n, ANSWERS[i], scale=scale, suppressed=suppressed, chain=likelihood == "l2r")
            for n in PREFIXES[i]
        ]
        assert own.log_probs == pytest.approx(exact, abs=1e-4)
        passes = min(len(ANSWERS[i]) + (1 not in suppressed), 4) if likelihood == "l2r" else 1
        assert own.nfe == len(exact) * passes * (2 if scale else 1)


@pytest.mark.parametrize("likelihood", ["one_pass", "l2r"])
def test_scores_do_not_depend_on_batch_size_order_or_options_of_decoding(likelihood):
    options = {"template": TEMPLATE, "likelihood": likelihood}
    asked = list(zip(PROMPTS, TRACES, ANSWERS, PREFIXES, strict=True))

    def scores(asked, **more):
        prompts, traces, answers, prefixes = (list(column) for column in zip(*asked, strict=True))
        return score_traces(HashBackbone(), prompts, traces, answers, prefixes=prefixes, **options, **more)

    alone = scores(asked, batch_size=1)
    for more in ({"batch_size": 5}, {}, {"exit_threshold": 0.1, "steps": 3, "temperature": 2.0, "seed": 4}):
        assert scores(asked, **more) == alone
    order = random.Random(1).sample(range(len(PROMPTS)), len(PROMPTS))
    mixed = scores([asked[i] for i in order], batch_size=7)
    assert [mixed[order.index(i)] for i in range(len(PROMPTS))] == alone
    assert max(TRACES[0]) < VOCAB and len({one.log_probs for one in alone}) == len(alone)
