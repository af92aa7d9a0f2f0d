"""Decoding on joints small enough to work out by hand: tokens, NFE, exits."""

import itertools
import math

import pytest
import torch

from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.running.generation import generate
from tests.toy import TableBackbone


def all_equal(vocab: int, length: int) -> torch.Tensor:
    """One symbol, drawn uniformly, at every position."""
    joint = torch.zeros((vocab,) * length)
    for token in range(vocab):
        joint[(token,) * length] = 1 / vocab
    return joint


def independent(*marginals: list[float]) -> torch.Tensor:
    joint = torch.ones(())
    for marginal in marginals:
        joint = joint[..., None] * torch.tensor(marginal)
    return joint


def decode(joint: torch.Tensor, **options):
    backbone = TableBackbone(joint)
    (generation,) = generate(backbone, [[0]], **{"gen_length": joint.ndim, "block_length": 99, **options})
    assert sum(map(len, backbone.passes)) == generation.nfe
    return generation


def test_med_needs_two_passes_where_fixed_k_needs_one_per_token():
    # Every position has log 4 nats until one is known; then all are certain.
    joint = all_equal(4, 5)
    assert decode(joint, sampler="med", entropy_threshold=0.2).nfe == 2
    assert decode(joint, sampler="fixed_k", k=1).nfe == 5
    assert decode(joint, sampler="fixed_k", k=2).nfe == 3
    assert decode(joint, sampler="fixed_k", steps=3).nfe == 3
    assert decode(joint, sampler="entropy_bound", entropy_bound=0.1).nfe == 2
    assert decode(joint, sampler="confidence_threshold").nfe == 2


def test_cap_limits_med_to_k_max_commits_a_step():
    # 1 uncertain commit, then 4 certain ones in steps of at most 2.
    assert decode(all_equal(4, 5), sampler="med", k_max=2).nfe == 3
    assert decode(all_equal(4, 5), sampler="med", k_max=1).nfe == 5


def test_threshold_above_every_entropy_takes_a_single_pass_and_may_be_wrong():
    joint = torch.zeros(2, 2)
    joint[0, 1] = joint[1, 0] = 0.5  # the two positions must differ; argmax says 0 for both
    fast = decode(joint, sampler="med", entropy_threshold=1.0)
    assert (fast.nfe, fast.token_ids) == (1, [0, 0])
    safe = decode(joint, sampler="med", entropy_threshold=0.2)
    assert (safe.nfe, safe.token_ids) == (2, [0, 1])


def test_surest_position_goes_first_and_ties_go_left():
    joint = independent([0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.7, 0.3])
    order = decode(joint, sampler="fixed_k", k=1, record_steps=True).commit_steps
    assert order == [4, 1, 2, 3]
    assert decode(joint, sampler="fixed_k", score="left_to_right", record_steps=True).commit_steps == [1, 2, 3, 4]


def test_blocks_are_finished_from_left_to_right():
    joint = independent([0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.7, 0.3])
    assert decode(joint, block_length=2, record_steps=True).commit_steps == [2, 1, 3, 4]
    # A block of certain tokens costs a pass of its own.
    assert decode(all_equal(4, 4), sampler="med", block_length=2).nfe == 3
    assert decode(all_equal(4, 4), sampler="med", block_length=1).nfe == 4


def test_even_schedule_counts_masks_per_block():
    joint = all_equal(3, 7)
    got = decode(joint, sampler="fixed_k", steps=4, block_length=4, record_steps=True)
    # Blocks of 4 and 3 masks, two steps each: 2 + 2, then 2 + 1.
    sizes = [got.commit_steps.count(step) for step in (1, 2, 3, 4)]
    assert sizes == [2, 2, 2, 1]


BITS = [[0.5, 0.5], [0.5, 0.5], [0.99, 0.01], [0.98, 0.02]]
TEMPLATE = Template.parse([{"reasoning": 2}, {"answer": 2}])


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_exit_fires_in_the_first_pass_in_which_the_whole_answer_is_certain_enough():
    bound = entropy(0.99) + entropy(0.98)
    joint = independent(*BITS)
    exited = decode(joint, template=TEMPLATE, gen_length=None, exit_threshold=bound + 1e-3)
    assert (exited.nfe, exited.early_exit, exited.exit_step) == (1, True, 1)
    assert exited.token_ids == [2, 2, 0, 0]  # reasoning masks stay; mask id is 2
    assert exited.answer_entropy == pytest.approx(bound, abs=1e-5)
    assert exited.tokens == 2 and exited.tokens_per_forward == 2
    # Just too strict for both together: fires once one answer token is committed and counts no more.
    later = decode(joint, template=TEMPLATE, gen_length=None, exit_threshold=bound - 1e-3)
    assert (later.nfe, later.exit_step, later.token_ids) == (2, 2, [2, 2, 0, 0])
    assert later.answer_entropy == pytest.approx(entropy(0.98), abs=1e-5)


def test_lower_threshold_exits_later():
    joint = torch.zeros(2, 2, 2)
    for a, b in itertools.product(range(2), repeat=2):
        joint[a, b, a ^ b] = 0.25  # the answer is known once both reasoning bits are
    template = Template.parse([{"reasoning": 2}, {"answer": 1}])
    loose = decode(joint, template=template, gen_length=None, exit_threshold=1.0)
    strict = decode(joint, template=template, gen_length=None, exit_threshold=0.1, score="left_to_right")
    assert (loose.nfe, strict.nfe) == (1, 3)
    assert strict.token_ids == [0, 0, 0]
    # Off by default: the answer is committed by the policy.
    full = decode(joint, template=template, gen_length=None)
    assert (full.nfe, full.early_exit, full.exit_step) == (3, False, None)
    assert full.answer_entropy == pytest.approx(0.0, abs=1e-6)


def test_without_answer_segment_there_is_no_answer_entropy():
    assert decode(all_equal(2, 3)).answer_entropy is None
    assert "answer_entropy" not in decode(all_equal(2, 3)).stats


def test_guidance_costs_two_passes_a_step():
    # Prompt and region are independent here, so guidance moves nothing but the bill.
    joint = independent([0.6, 0.4], [0.9, 0.1], [0.1, 0.9])
    guided, plain = decode(joint, cfg_scale=1.0), decode(joint)
    assert (plain.nfe, guided.nfe, guided.token_ids) == (3, 6, plain.token_ids)


def test_suppressed_token_is_never_committed():
    joint = independent([0.9, 0.06, 0.04], [0.9, 0.04, 0.06])
    assert decode(joint).token_ids == [0, 0]
    assert decode(joint, suppress_tokens=[0]).token_ids == [1, 2]


def test_sampling_at_temperature_one_follows_the_joint():
    joint = torch.tensor([[0.4, 0.1], [0.05, 0.45]])
    n = 400
    prompts = [[int(bit) for bit in f"{i:010b}"] for i in range(n)]  # their content seeds the rows
    options = {"gen_length": 2, "temperature": 1.0}
    drawn = [row.token_ids for row in generate(TableBackbone(joint), prompts, **options)]
    counts = torch.zeros(2, 2)
    for first, second in drawn:
        counts[first, second] += 1
    sigma = (joint * (1 - joint) / n).sqrt()
    assert ((counts / n - joint).abs() < 4 * sigma).all()
    assert [row.token_ids for row in generate(TableBackbone(joint), prompts, **options)] == drawn
    assert [row.token_ids for row in generate(TableBackbone(joint), prompts, seed=1, **options)] != drawn
