"""Experts by grouped products against transformers' modules, and their rows against the same rows alone.

Run as test_kernels.py says.
"""

import pytest
import torch

from tests.gpu.test_kernels import DEVICE, INTERPRETED, draw, pytestmark  # noqa: F401


DTYPES = [torch.float32] if INTERPRETED else [torch.bfloat16, torch.float16]
SIZES = {"hidden_size": 72, "moe_intermediate_size": 40, "num_experts_per_tok": 3}  # nothing divides into tiles
EVEN = {"hidden_size": 128, "moe_intermediate_size": 128, "num_experts_per_tok": 4}
LARGE = {"hidden_size": 1024, "moe_intermediate_size": 512, "num_experts_per_tok": 8}


def softmax_router(sizes, dtype, norm=True):
    from transformers.models.qwen3_moe import modeling_qwen3_moe as module

    config = module.Qwen3MoeConfig(**sizes, num_experts=16, norm_topk_prob=norm, experts_implementation="eager")
    return filled(module.Qwen3MoeSparseMoeBlock(config), dtype)


def sigmoid_router(sizes, dtype):
    from transformers.models.glm4_moe import modeling_glm4_moe as module

    groups = {"n_routed_experts": 16, "n_group": 4, "topk_group": 2, "n_shared_experts": 1}
    scale = {"routed_scaling_factor": 2.5, "norm_topk_prob": True, "experts_implementation": "eager"}
    block = filled(module.Glm4MoeMoE(module.Glm4MoeConfig(**sizes, **groups, **scale)), dtype)
    # Clearly negative, so that an excluded group that is only set to zero would be chosen.
    # And exact in few bits, so that no change of the block's dtype changes them.
    block.gate.e_score_correction_bias = (draw(16, seed=9) * 0.3 - 2).bfloat16().to(dtype).float()
    return block


BLOCKS = {
    "softmax": softmax_router,
    "softmax, not normed": lambda sizes, dtype: softmax_router(sizes, dtype, norm=False),
    "sigmoid": sigmoid_router,
}


def filled(block, dtype):
    for seed, (name, weight) in enumerate(block.named_parameters()):
        scale = 0.3 if name == "gate.weight" else weight.shape[-1] ** -0.5
        weight.data = draw(*weight.shape, dtype=dtype, seed=20 + seed) * scale
    return block.to(DEVICE).eval().requires_grad_(False)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("sizes", [SIZES, EVEN], ids=["uneven", "even"])
@pytest.mark.parametrize("num_tokens", [1, 50])
def test_experts_give_what_transformers_gives(dtype, kind, sizes, num_tokens):
    from lm_eval_mdlm.backbones.fused_layer import SharedAndExperts

    block = BLOCKS[kind](sizes, dtype)
    tokens = draw(num_tokens, sizes["hidden_size"], dtype=dtype)
    theirs = block(tokens[None])[0]
    exact = block.float()(tokens.float()[None])[0]
    ours = SharedAndExperts.of(block.to(dtype))(tokens)
    own, plain = ((one.double() - exact.double()).norm() / exact.double().norm() for one in (ours, theirs))
    assert own <= (1e-5 if dtype == torch.float32 else 1.25 * plain)


@torch.inference_mode()
@pytest.mark.parametrize("kind", BLOCKS)
def test_choice_and_weights_are_the_routers_own(kind):
    from lm_eval_mdlm.backbones.experts import FusedExperts

    block = BLOCKS[kind](SIZES, torch.float32)
    tokens = draw(200, 72)
    logits, weights, chosen = block.gate(tokens)
    _, ours, own = FusedExperts.of(block).selection(logits)
    assert torch.equal(own, chosen) and torch.equal(ours, weights)  # by the same logits: to the bit


@torch.inference_mode()
@pytest.mark.parametrize("kind", BLOCKS)
def test_rows_have_the_same_bits_alone_and_in_any_company(kind):
    from lm_eval_mdlm.backbones.fused_layer import SharedAndExperts

    dtype, sizes = DTYPES[0], SIZES if INTERPRETED else LARGE
    mlp = SharedAndExperts.of(BLOCKS[kind](sizes, dtype))
    tokens = draw(100 if INTERPRETED else 5000, sizes["hidden_size"], dtype=dtype)
    experts = mlp.experts
    together = experts(tokens, None)
    for first, end in ((0, 1), (7, 40), (36, 100), (0, 64), (99, 100)):
        assert torch.equal(experts(tokens[first:end].contiguous(), None), together[first:end])
    crowd = tokens[3:4].expand(len(tokens), -1).contiguous()  # all to the same experts
    assert (experts(crowd, None) == together[3]).all()


@torch.inference_mode()
@pytest.mark.parametrize("sizes", [SIZES] if INTERPRETED else [SIZES, LARGE], ids=str)
def test_large_tiles_give_the_bits_of_small_ones(sizes):
    from lm_eval_mdlm.backbones.experts_kernel import FEW_ROWS, MANY_ROWS, gated_up, lay_tiles, project_down

    experts = BLOCKS["softmax"](sizes, DTYPES[0]).experts
    tokens = draw(300, sizes["hidden_size"], dtype=DTYPES[0])
    chosen = (torch.arange(300, device=DEVICE) ** 2 % 5).to(torch.int16)  # some experts are idle
    ordered, order = torch.sort(chosen)
    results = []
    for rows in (FEW_ROWS, MANY_ROWS):
        tiles = lay_tiles(ordered, 16, rows)
        activated = gated_up(tokens, experts.gate_up_proj, order, tiles, 1)
        results.append(project_down(activated, experts.down_proj, order, tiles))
    assert torch.equal(*results)


@pytest.mark.parametrize("rows", [64, 128])
@pytest.mark.parametrize("counts", [[0, 0, 0], [1, 0, 5], [64, 65, 63], [0, 0, 400], [129, 1, 0]], ids=str)
def test_tiles_hold_every_row_once_and_only_one_experts(counts, rows):
    from lm_eval_mdlm.backbones.experts_kernel import lay_tiles

    experts = torch.arange(3).repeat_interleave(torch.tensor(counts)).to(DEVICE, torch.int16)
    held = []
    for expert, first, end in lay_tiles(experts, 3, rows).places.tolist() if len(experts) else []:
        assert end - first <= rows and (experts[first:end] == expert).all()
        held += range(first, end)
    assert held == list(range(sum(counts)))
