"""Reasoning given its answer: exactly the model's own conditionals, by enumeration and by slow plain decoding."""

import functools
import itertools
import math
import random
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from lm_eval_mdlm.engine.decode import FILLING, decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.row import Row
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_exact_joint import independent
from tests.engine.test_scheduling import MASK, PROMPTS, HashBackbone
from tests.toy import TableBackbone


class Remembered(TableBackbone):
    """Works out each canvas once."""

    def __init__(self, joint: torch.Tensor) -> None:
        super().__init__(joint)
        self._known = functools.cache(lambda canvas: super(Remembered, self).read(torch.tensor(canvas)))

    def read(self, canvas):
        return self._known(tuple(canvas.tolist()))


ORDERS = {
    "behind": ([{"reasoning": 3}, {"answer": 1}], [0, 1, 2], 3),
    "between": ([{"reasoning": 2}, {"answer": 1}, {"reasoning": 1}], [0, 1, 3], 2),
}
SCORES = ["entropy", "confidence", "margin", "random", "left_to_right"]


def entangled() -> torch.Tensor:
    """A joint of four tokens out of three, none independent of another."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand((3,) * 4, generator=generator, dtype=torch.float64) ** 4
    return weights / weights.sum()


def p_value(joint: torch.Tensor, order: str, answer: int, num_traces: int, **options) -> float:
    """Of a chi-square test of traces against p(reasoning given answer); every trace must hold the answer."""
    template, reasoning, place = ORDERS[order]
    options = {"temperature": 1.0, "template": template, **options}
    rows = generate(Remembered(joint), [[0]], answers=[[answer]], repeat=num_traces, **options)
    assert {row.token_ids[place] for row in rows} == {answer}
    counts = Counter(tuple(row.token_ids[i] for i in reasoning) for row in rows)
    exact = joint.select(place, answer) / joint.select(place, answer).sum()
    outcomes = list(itertools.product(range(joint.shape[0]), repeat=len(reasoning)))
    expected = [num_traces * exact[outcome].item() for outcome in outcomes]
    # Outcomes that are too rare for the test are taken together.
    rare = [i for i, number in enumerate(expected) if number < 5]
    observed = [counts[outcomes[i]] for i in range(len(outcomes)) if i not in rare]
    wanted = [number for i, number in enumerate(expected) if i not in rare]
    if rare:
        observed.append(sum(counts[outcomes[i]] for i in rare))
        wanted.append(sum(expected[i] for i in rare))
    return chisquare(observed, wanted).pvalue


@pytest.mark.parametrize("block_length", [1, 2, 4])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("score", ["entropy", "random"])
def test_traces_are_samples_of_the_exact_conditional(order, score, block_length):
    assert p_value(entangled(), order, 1, 500, score=score, block_length=block_length) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("score", "block_length"), [*((score, 4) for score in SCORES), ("entropy", 1), ("entropy", 2)])
def test_ten_thousand_traces_are_samples_of_the_exact_conditional(score, block_length):
    assert p_value(entangled(), "behind", 2, 10_000, score=score, block_length=block_length) > 1e-3


def test_traces_of_other_rules_or_temperatures_are_told_from_the_exact_conditional():
    assert p_value(entangled(), "behind", 1, 500, k=3, block_length=4) < 1e-6  # independent draws
    assert p_value(entangled(), "behind", 1, 500, block_length=4, temperature=0.5) < 1e-6


def test_traces_given_another_answer_are_told_from_the_exact_conditional():
    joint = entangled()
    swapped = joint[..., [1, 0, 2]]  # what one calls 0 is 1 to the other
    rows = generate(Remembered(joint), [[0]], answers=[[0]], repeat=500, temperature=1.0, template=ORDERS["behind"][0])
    exact = swapped.select(3, 0) / swapped.select(3, 0).sum()
    counts = Counter(tuple(row.token_ids[:3]) for row in rows)
    distance = sum(abs(counts[r] / 500 - exact[r].item()) for r in itertools.product(range(3), repeat=3)) / 2
    assert distance > 0.3


def test_answer_decides_the_reasoning_before_any_of_it_is_there():
    joint = torch.zeros(2, 2, 2)
    for a, b in itertools.product(range(2), repeat=2):
        joint[a, b, a ^ b] = [[0.4, 0.25], [0.25, 0.1]][a][b]
    options = {"template": [{"reasoning": 2}, {"answer": 1}], "block_length": 1}
    free, given = (generate(TableBackbone(joint), [[0]], answers=[a], **options)[0] for a in (None, [1]))
    assert free.token_ids == [0, 0, 0] and given.token_ids in ([0, 1, 1], [1, 0, 1])
    assert (free.nfe, given.nfe, free.tokens, given.tokens) == (3, 2, 3, 2)
    assert given.answer_entropy is None and "answer_entropy" not in given.stats
    assert (given.early_exit, given.exit_step, free.answer_entropy) == (False, None, 0.0)


def slow_greedy(canvas: list[int], offset: int, block_length: int, scale: float) -> tuple[list[int], int]:
    """One token a pass, the surest of the leftmost block that holds a mask; the canvas and the passes."""

    def probabilities(canvas):
        logits = HashBackbone().read(torch.tensor(canvas)).double()
        if scale:
            bare = HashBackbone().read(torch.tensor([MASK] * offset + canvas[offset:])).double()
            logits = bare + (scale + 1) * (logits - bare)
        logits[:, MASK] = -math.inf
        return logits.softmax(-1)

    canvas, nfe = list(canvas), 0
    while MASK in canvas[offset:]:
        masked = [i for i, token in enumerate(canvas) if token == MASK and i >= offset]
        block = (masked[0] - offset) // block_length
        table = probabilities(canvas)
        entropy = torch.special.entr(table).sum(-1)
        chosen = min((i for i in masked if (i - offset) // block_length == block), key=lambda i: entropy[i].item())
        canvas[chosen] = table[chosen].argmax().item()
        nfe += 2 if scale else 1
    return canvas, nfe


TEMPLATE = [{"reasoning": 5}, {"answer": 3}, {"reasoning": 6}, {"reasoning": 2}]


@pytest.mark.parametrize("cfg_scale", [0.0, 0.7])
@pytest.mark.parametrize("block_length", [1, 4, 99])
def test_greedy_traces_equal_a_slow_decoder_that_finds_the_answer_on_the_canvas(block_length, cfg_scale):
    prompts, answers = PROMPTS[:6], [[3 + i, 9][: 1 + i % 2] for i in range(6)]
    options = {"template": TEMPLATE, "block_length": block_length, "cfg_scale": cfg_scale}
    rows = generate(HashBackbone(), prompts, answers=answers, **options)
    for prompt, answer, row in zip(prompts, answers, rows, strict=True):
        region = [MASK] * 5 + answer + [1] * (3 - len(answer)) + [MASK] * 8
        canvas, nfe = slow_greedy([*prompt, *region], len(prompt), block_length, cfg_scale)
        assert (row.token_ids, row.nfe) == (canvas[len(prompt) :], nfe)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.0},
        {"sampler": "med", "entropy_threshold": 0.5, "stop_when_settled": True},
        {"score": "random", "k": 3, "cfg_scale": 1.0},
        {"steps": 12, "block_length": 16, "temperature": 0.5},
    ],
    ids=str,
)
def test_results_do_not_depend_on_batch_size_or_order(options):
    answers = [None if i % 3 == 0 else [2 + i, 5][: i % 3] for i in range(len(PROMPTS))]
    options = {"template": TEMPLATE, "block_length": 4, "record_steps": True, **options}
    alone = generate(HashBackbone(), PROMPTS, answers=answers, batch_size=1, **options)
    for batch_size in (5, "auto"):
        assert generate(HashBackbone(), PROMPTS, answers=answers, batch_size=batch_size, **options) == alone
    order = random.Random(1).sample(range(len(PROMPTS)), len(PROMPTS))
    shuffled = [[values[i] for i in order] for values in (PROMPTS, answers)]
    mixed = generate(HashBackbone(), shuffled[0], answers=shuffled[1], batch_size=7, **options)
    assert [mixed[order.index(i)] for i in range(len(PROMPTS))] == alone
    for answer, row in zip(answers, alone, strict=True):
        if answer is not None:
            assert row.token_ids[5:8] == [*answer, 1, 1][:3] and row.commit_steps[5:8] == [None] * 3


def test_random_numbers_follow_from_the_answer_and_are_the_old_ones_without():
    config = DecodingConfig.from_options({"template": TEMPLATE, "temperature": 1.0})
    keys = [plan_row(HashBackbone(), [7], config, answer=answer).key for answer in (None, [5], [6], [5, 6])]
    assert len(set(keys)) == 4
    assert plan_row(HashBackbone(), [7], config).key == keys[0]
    assert keys[0].digest.hex() == "4a4e11fe31f2e43b1c1389697cdc38f1"  # as it was before answers could be given


ONLY_ANSWER = {"template": [{"answer": 2}], "block_length": 1}


@pytest.mark.parametrize(
    "more", [{}, {"steps": 5}, {"sampler": "med"}, {"stop_when_settled": True}, {"cfg_scale": 1.0}]
)
def test_region_without_masks_needs_no_pass(more):
    backbone = HashBackbone()
    rows = generate(backbone, [[7], [8]], answers=[[4, 5], [6]], **ONLY_ANSWER, **more)
    assert [row.token_ids for row in rows] == [[4, 5], [6, 1]]
    assert backbone.passes == []
    assert {(row.nfe, row.tokens, row.tokens_per_forward) for row in rows} == {(0, 0, 0.0)}
    assert rows[0].stats["tokens_per_forward"] == 0


@pytest.mark.parametrize(
    "budget", [Budget(), Budget(max_rows=1), Budget(max_requests=1), Budget(refill=False)], ids=str
)
def test_rows_that_are_done_at_once_come_back_beside_others(budget):
    backbone = HashBackbone()
    given, free = DecodingConfig.from_options(ONLY_ANSWER), DecodingConfig.from_options({"gen_length": 3})
    made = plan_row(backbone, [7], free), plan_row(backbone, [7], given, answer=[4, 5])
    plans = [(i, made[i % 3 != 1]) for i in range(7)]
    rows = dict(decode(Readout(backbone), plans, budget))
    assert [rows[i].steps for i in range(7)] == [0, 3, 0, 0, 3, 0, 0]
    assert [] not in backbone.passes


def test_settled_rows_end_when_their_text_can_no_longer_change(backbones):
    backbone = backbones["llada"]
    template = [{"answer": 4}, {"reasoning": 6}]
    config = DecodingConfig.from_options({"template": template, "until": ["."], "stop_when_settled": True})
    row = Row(plan_row(backbone, [5], config, answer="a."), FILLING)
    assert row.done and row.generation(False).text == "a" and row.region_ids[-6:] == [backbone.mask_token_id] * 6
    (whole,) = generate(backbone, [[5]], answers=["a."], template=template, until=["."])
    assert (whole.text, whole.nfe, whole.tokens) == ("a", 6, 0)
    # With the answer behind the reasoning nothing is settled before the reasoning is.
    config = DecodingConfig.from_options(
        {"template": [{"reasoning": 6}, {"answer": 4}], "until": ["."], "stop_when_settled": True}
    )
    assert not Row(plan_row(backbone, [5], config, answer="a."), FILLING).done


@pytest.mark.parametrize("seed", range(4))
def test_stopping_when_settled_never_changes_the_text(seed):
    rng = random.Random(seed)
    answers = [[rng.randrange(2, 38) for _ in range(rng.randrange(4))] for _ in PROMPTS]
    options = {"template": TEMPLATE, "block_length": 4, "temperature": 3.0, "seed": seed}

    class Ending(HashBackbone):
        def read(self, canvas):
            logits = super().read(canvas)
            logits[:, 1] += 12.0
            return logits

    full = generate(Ending(), PROMPTS, answers=answers, **options)
    settled = generate(Ending(), PROMPTS, answers=answers, stop_when_settled=True, **options)

    def kept(row):
        pieces = [row.token_ids[start:stop] for start, stop in ((0, 5), (5, 8), (8, 14), (14, 16))]
        return [piece[: piece.index(1)] if 1 in piece else piece for piece in pieces]

    assert [kept(row) for row in settled] == [kept(row) for row in full]
    assert [row.tokens for row in settled] == [row.tokens for row in full]
    assert sum(row.nfe for row in settled) < sum(row.nfe for row in full)


def test_a_certain_answer_does_not_end_a_row_that_was_given_it():
    backbone = TableBackbone(independent([0.6, 0.4], [1.0, 0.0]))
    template = [{"reasoning": 1}, {"answer": 1}]
    with pytest.raises(UsageError, match="row 1, counted from 0: exit_threshold=0.5 has no answer to watch"):
        generate(backbone, [[0], [0]], answers=[None, [0]], template=template, exit_threshold=0.5)
    assert backbone.passes == []


SAME = [
    {"cache": "prefix", "k": 2},
    {"cache": "dual", "k": 2},
    {"cache": "dual", "sampler": "med", "entropy_threshold": 0.8, "temperature": 1.0},
    {"cache": "prefix", "k": 3, "cfg_scale": 0.5},
    {"cache": "none", "score": "random", "k": 2, "temperature": 0.7},
]


@pytest.mark.parametrize("options", SAME, ids=str)
def test_given_answer_acts_as_fixed_text_of_the_same_tokens(backbone, options):
    """Under every cache and guidance: canvas and random numbers are then the same."""
    answer = "total 48"
    length = len(backbone.tokenizer.encode(answer, add_special_tokens=False))
    around = [{"reasoning": 9}, {"text": "\n=> "}], [{"reasoning": 13}]
    given = [*around[0], {"answer": length}, *around[1]]
    fixed = [*around[0], {"text": answer}, *around[1]]
    options = {"block_length": 6, "record_steps": True, **options}
    prompts = [[3 + (7 * i + 11 * j) % 380 for j in range(4 + 9 * i % 40)] for i in range(5)]
    ours = generate(backbone, prompts, answers=[answer] * 5, template=given, **options)
    assert ours == generate(backbone, prompts, template=fixed, **options)
    assert ours == generate(backbone, prompts, answers=[answer] * 5, template=given, batch_size=2, **options)
    assert all(answer in row.text for row in ours)
    assert any(row.nfe_partial for row in ours) == (options["cache"] != "none")
