"""Fused layers with head norms, partial rotation, experts and grid blocks, in random networks of transformers.

On a GPU in bfloat16: as far from float32 as transformers' own layers are, and the same bits in any company, whole, in
parts, recorded or not. In Triton's interpreter (see test_kernels.py) in float32, and close.
"""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks.networks import backbone_of, random_network
from benchmarks.shapes import Experts, Shape
from lm_eval_mdlm.backbones import packed
from lm_eval_mdlm.backbones.backbone import CanvasPart
from lm_eval_mdlm.backbones.fusable import fusable
from lm_eval_mdlm.backbones.layers import TransformersLayers
from tests.gpu.test_kernels import DEVICE, INTERPRETED, draw, pytestmark  # noqa: F401


SIZES = {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 32, "ffn": 96, "vocab": 400}
WIDTH = 32
if not INTERPRETED:
    SIZES |= {"hidden": 512, "layers": 4, "heads": 8, "head_width": 64, "ffn": 1024}
    WIDTH = 256
SHAPES = {
    "head norms": Shape(**SIZES, has_head_norms=True),
    "softmax experts": Shape(**SIZES, has_head_norms=True, experts=Experts(number=16, chosen=4, width=WIDTH)),
    "sigmoid experts": Shape(
        **SIZES,
        has_head_norms=True,
        experts=Experts(number=16, chosen=4, width=WIDTH, dense_layers=1, shared=1, groups=(4, 2)),
    ),
    "no head norms": Shape(
        **SIZES, experts=Experts(number=16, chosen=4, width=WIDTH, dense_layers=1, shared=1, groups=(4, 2))
    ),
}
LENGTHS = (30, 9, 51) if INTERPRETED else (130, 9, 251, 1, 64)
AS_FAR = 1.5
"""Times as far from float32 as transformers' own layers that fused ones may be: chance decides near ties of experts."""


def network_of(shape: Shape, device: str, dtype: torch.dtype):
    torch.manual_seed(1)
    network = random_network(shape, device, dtype)
    for seed, (name, weight) in enumerate(network.named_parameters()):
        if name.endswith("norm.weight"):
            weight.data += 0.3 * draw(*weight.shape, seed=seed).to(weight)
        elif "mlp" in name or "self_attn" in name:
            # The same on every device, and large enough that attention and experts matter.
            weight.data = (draw(*weight.shape, seed=seed) * weight.shape[-1] ** -0.5).to(weight)
        else:
            weight.data = (draw(*weight.shape, seed=seed) * 0.3).to(weight)
    for name, bias in network.named_buffers():
        if name.endswith("e_score_correction_bias"):
            bias.copy_(draw(*bias.shape, seed=7) * 0.2 - 1)
    return network


@pytest.fixture(params=[None, 8, 32], ids=["bidirectional", "blocks of 8", "blocks of 32"])
def grid_block(request):
    return request.param


@pytest.fixture(params=SHAPES)
def trio(request, grid_block, monkeypatch):
    """In float32 on the CPU, by transformers' layers in the dtype of the fused ones, and the fused ones."""
    shape = replace(SHAPES[request.param], grid_block=grid_block)
    wide = network_of(shape, "cpu", torch.bfloat16 if not INTERPRETED else torch.float32).float()
    exact = backbone_of(wide, shape, torch.device("cpu"), float32_rope=False)
    if INTERPRETED:
        from lm_eval_mdlm.backbones.fused import FusedLayers

        fused = copy.deepcopy(exact)
        network = SimpleNamespace(model=fused._body._body, config=fused._body._body.config, dtype=fused.dtype)
        assert fusable(network)
        fused._body = FusedLayers(network, fused._body._table, fused._products)
        return exact, exact, fused
    wide.config._attn_implementation = "mdlm_packed_sdpa"
    device = torch.device(DEVICE)
    fused = backbone_of(network_of(shape, DEVICE, torch.bfloat16), shape, device, float32_rope=False)
    assert fused.description["body"] == "fused layers, recorded passes"
    with monkeypatch.context() as patched:
        patched.setattr(packed, "body_of", TransformersLayers)
        plain = backbone_of(network_of(shape, DEVICE, torch.bfloat16), shape, device, float32_rope=False)
    return exact, plain, fused


def canvas(length: int) -> torch.Tensor:
    return (torch.arange(length) * 31 + length) % 380


def states(backbone, sequences) -> list[torch.Tensor]:
    lengths = [len(own) for own in sequences]
    found = backbone.states(torch.cat(sequences), lengths, torch.arange(sum(lengths)))
    return list(torch.split(found, lengths))


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double().cpu() - theirs.double().cpu()).norm() / theirs.double().norm())


@torch.inference_mode()
def test_states_are_those_of_transformers_layers(trio):
    exact, plain, fused = (torch.cat(states(one, [canvas(n) for n in LENGTHS])) for one in trio)
    assert distance(fused, exact) <= (1e-4 if INTERPRETED else AS_FAR * distance(plain, exact))


@torch.inference_mode()
def test_bits_are_the_same_alone_and_in_company_recorded_or_not(trio):
    *_, fused = trio
    sequences = [canvas(n) for n in LENGTHS[:3]]
    together = states(fused, sequences)
    last = sequences[-1]
    (alone,) = states(fused, [last])
    assert_same(alone, together[-1])
    few = torch.tensor([len(last) - 1, 3, 5])
    assert_same(fused.states(last, [len(last)], few), alone[few.to(alone.device)])
    if INTERPRETED:
        return
    for mates in (3, 40):  # the last is too long to be recorded
        packed_pass = states(fused, [*[canvas(97)] * mates, last])
        assert_same(packed_pass[-1], alone)


@torch.inference_mode()
def test_blocks_in_turn_over_kept_keys_give_the_states_of_one_pass(trio, grid_block):
    if grid_block is None:
        pytest.skip("a later token would change an earlier one")
    *_, fused = trio
    sequences = [canvas(n) for n in LENGTHS[: 2 if INTERPRETED else None]]
    whole = states(fused, sequences)
    slots = [fused.reserve(len(own)) for own in sequences]
    step = 32
    for first in range(0, max(map(len, sequences)), step):
        parts, expected = [], []
        for own, slot, state in zip(sequences, slots, whole, strict=True):
            positions = torch.arange(min(first, len(own)), min(first + step, len(own)))
            if len(positions):
                known = {"token_ids": own[positions], "positions": positions, "slot": slot}
                parts.append(CanvasPart(**known, wanted=torch.arange(len(positions))))
                expected.append(state[first : first + step])
        assert_same(fused.partial_states(parts), torch.cat(expected))
        for part, state in zip(parts[::-1], expected[::-1], strict=True):  # and alone, over what is kept now
            assert_same(fused.partial_states([part]), state)


@torch.inference_mode()
def test_transformers_layers_on_the_device_hide_later_blocks(trio, grid_block):
    if grid_block is None or INTERPRETED:
        pytest.skip("test_block_causal_kernel.py has it")
    exact, plain, _ = trio
    before = torch.cat(states(plain, [canvas(100)]))
    changed = canvas(100)
    changed[64] += 1
    after = torch.cat(states(plain, [changed]))
    assert torch.equal(before[:64], after[:64]) and not torch.equal(before[64:], after[64:])
    assert distance(before, torch.cat(states(exact, [canvas(100)]))) <= 0.2


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    if INTERPRETED:
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    else:
        assert torch.equal(ours, theirs)
