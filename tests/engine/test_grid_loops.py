"""The loops that LLaDA2.0, LLaDA2.1 and SDAR publish, token for token and pass for pass.

Their canvases are filled up to whole blocks; regions here end with a block, so that both ask the same of a network.
"""

import pytest
import torch

from lm_eval_mdlm.decoding.proposal import RowKey, gumbel_argmax
from lm_eval_mdlm.running.generation import generate
from tests.published_grid import Draw, likeliest, llada20, llada21, sdar
from tests.slow import Slow
from tests.toy import RandomBackbone


VOCAB, MASK, END, SIZE = 13, 12, 3, 4
PROMPTS = [[1], [2, 5, 7, 7], [4, 8, 1, 0, 6, 2], [9] * 11]
ROWS = [(prompt, SIZE * 4 - len(prompt) % SIZE) for prompt in PROMPTS]
EDITING = [(0.7, 0.5, 16), (0.5, 0.2, 16), (0.3, 0.0, 2), (0.4, 0.3, 0)]


def rows_of(canvas) -> list[list[float]]:
    backbone = RandomBackbone(vocab_size=VOCAB, scale=2.0)
    return Slow(backbone.logits_of, MASK, forbidden=[MASK]).log_probs((), list(canvas))


def network(end: int | None = None) -> RandomBackbone:
    """Rows of a block are those of the canvas that ends with it, as the published loops ask for them."""
    ends = () if end is None else (end,)
    return RandomBackbone(vocab_size=VOCAB, scale=2.0, end_token_ids=ends, grid_block=SIZE)


def decoded(prompt, length, end=None, **options):
    (row,) = generate(network(end), [prompt], gen_length=length, cache="none", **options)
    return row


@pytest.mark.parametrize(("prompt", "length"), ROWS, ids=str)
@pytest.mark.parametrize("threshold", [0.3, 0.95])
def test_llada20_is_the_rule_of_confidence_threshold(prompt, length, threshold):
    row = decoded(prompt, length, sampler="confidence_threshold", confidence_threshold=threshold)
    found = llada20(rows_of, prompt, length, size=SIZE, mask=MASK, threshold=threshold)
    assert (row.token_ids, row.nfe) == (found.tokens, found.passes)


@pytest.mark.parametrize(("prompt", "length"), ROWS, ids=str)
@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_sdar_dynamic_with_a_step_for_each_position_is_the_same_rule(prompt, length, threshold):
    row = decoded(prompt, length, sampler="confidence_threshold", confidence_threshold=threshold)
    ways = {"strategy": "low_confidence_dynamic", "denoising_steps": SIZE, "threshold": threshold}
    found = sdar(rows_of, prompt, length, size=SIZE, mask=MASK, **ways)
    assert (row.token_ids, row.nfe) == (found.tokens, found.passes)


@pytest.mark.parametrize(("prompt", "length"), ROWS, ids=str)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    ("strategy", "score"), [("low_confidence_static", "confidence"), ("sequential", "left_to_right")]
)
def test_sdar_static_and_sequential_are_schedules_of_a_full_block(prompt, length, steps, strategy, score):
    row = decoded(prompt, length, steps=steps, score=score)
    found = sdar(rows_of, prompt, length, size=SIZE, mask=MASK, strategy=strategy, denoising_steps=steps)
    assert (row.token_ids, row.nfe) == (found.tokens, found.passes)


def drawn_for(prompt, length) -> Draw:
    """The draws of a row at temperature 1."""
    key = RowKey.of(0, prompt, [MASK] * length, 0)

    def draw(step, position, row):
        seed = key.seed("token", step, position - len(prompt))
        return int(gumbel_argmax(torch.tensor([row], dtype=torch.float64), [1.0], [seed]))

    return draw


@pytest.mark.parametrize(("prompt", "length"), ROWS, ids=str)
@pytest.mark.parametrize("steps", [2, 4])
def test_sdar_sequential_samples_the_same_tokens_at_temperature_one(prompt, length, steps):
    row = decoded(prompt, length, steps=steps, score="left_to_right", temperature=1.0)
    draw = drawn_for(prompt, length)
    ways = {"strategy": "sequential", "denoising_steps": steps}
    found = sdar(rows_of, prompt, length, size=SIZE, mask=MASK, draw=draw, **ways)
    assert (row.token_ids, row.nfe) == (found.tokens, found.passes)
    assert found.tokens != sdar(rows_of, prompt, length, size=SIZE, mask=MASK, draw=likeliest, **ways).tokens


@pytest.mark.parametrize(("prompt", "length"), ROWS, ids=str)
def test_a_published_loop_ends_after_the_block_of_an_end_of_text_and_here_within_it(prompt, length):
    mid = llada20(rows_of, prompt, length, size=SIZE, mask=MASK, threshold=0.5).tokens[length // 2]
    row = decoded(prompt, length, mid, sampler="confidence_threshold", confidence_threshold=0.5)
    found = llada20(rows_of, prompt, length, size=SIZE, mask=MASK, threshold=0.5, end=mid)
    same = row.token_ids.index(mid) + 1
    assert found.tokens[:same] == row.token_ids[:same]
    assert found.passes - SIZE < row.nfe <= found.passes and row.tokens == same - 1
    ways = {"strategy": "low_confidence_dynamic", "denoising_steps": SIZE, "threshold": 0.5, "stop": mid}
    assert sdar(rows_of, prompt, length, size=SIZE, mask=MASK, **ways) == found


@pytest.mark.parametrize(("prompt", "length"), ROWS, ids=str)
@pytest.mark.parametrize(("threshold", "editing", "most"), EDITING)
def test_llada21_is_edit(prompt, length, threshold, editing, most):
    options = {"confidence_threshold": threshold, "edit_threshold": editing, "max_edit_passes": most}
    row = decoded(prompt, length, sampler="edit", **options)
    ways = {"threshold": threshold, "editing_threshold": editing, "max_post_steps": most}
    found = llada21(rows_of, prompt, length, size=SIZE, mask=MASK, **ways)
    assert (row.token_ids, row.nfe) == (found.tokens, found.passes)


def test_edits_happen():
    plain = decoded(*ROWS[0], sampler="confidence_threshold", confidence_threshold=0.3)
    edited = decoded(*ROWS[0], sampler="edit", confidence_threshold=0.3, edit_threshold=0.2)
    assert edited.token_ids != plain.token_ids and edited.nfe > plain.nfe
