"""Fused layers against transformers' own, over whole canvases and over parts of them.

On a GPU in bfloat16 with the real attention kernel; in Triton's interpreter (see test_kernels.py) in float32 with a
stand-in for it.
"""

import copy

import pytest
import torch

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.backbones.backbone import CanvasPart
from tests.gpu.test_kernels import DEVICE, INTERPRETED, pytestmark  # noqa: F401
from tests.tiny import FAMILIES, make_checkpoint


CANVASES = [[3 + (7 * i + 11 * j) % 380 for j in range(length)] for i, length in enumerate((30, 9, 51))]
PARTS = ([4, 5, 6, 20], [0, 1], list(range(30, 51)))


@pytest.fixture(params=FAMILIES)
def pair(request, tmp_path, monkeypatch):
    """The layers as they are in float32 on the CPU, and the fused ones."""
    sizes = {"hidden": 128, "layers": 3, "heads": 4, "kv_heads": 2, "ffn": 256}
    checkpoint = str(make_checkpoint(tmp_path, request.param, **sizes))
    plain = load_backbone(checkpoint, device="cpu")
    if not INTERPRETED:
        return plain, load_backbone(checkpoint, device=DEVICE)
    from lm_eval_mdlm.backbones import attention
    from lm_eval_mdlm.backbones.fused import FusedLayers, fusable
    from tests.backbones.test_recorded_passes import varlen

    monkeypatch.setattr(attention, "varlen_attn", varlen)
    fused = copy.deepcopy(plain)

    class Network:
        model, config = fused._body._body, fused._body._body.config

    assert fusable(Network)
    fused._body = FusedLayers(Network, fused._body._table, fused._products)
    return plain, fused


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours.float().cpu() - theirs).norm() <= (1e-4 if INTERPRETED else 3e-2) * theirs.norm()


@torch.inference_mode()
def test_whole_canvases(pair):
    plain, fused = pair
    sequences = [torch.tensor(canvas) for canvas in CANVASES]
    for theirs, ours in zip(plain.logits(sequences), fused.logits(sequences), strict=True):
        assert_close(ours, theirs)


@torch.inference_mode()
def test_parts_of_canvases_over_keys_and_values_of_an_earlier_pass(pair):
    found = []
    for backbone in pair:
        slots = [backbone.reserve(len(canvas)) for canvas in CANVASES]
        states = []
        for change, positions in ((0, [list(range(len(canvas))) for canvas in CANVASES]), (50, PARTS), (90, PARTS)):
            parts = []
            for canvas, own, slot in zip(CANVASES, positions, slots, strict=True):
                token_ids = torch.tensor([(canvas[i] + change) % 380 for i in own])
                follows = [n for n, i in enumerate(own) if not backbone.lookback or i == 0 or i - 1 in own]
                known = {"token_ids": token_ids, "positions": torch.tensor(own), "slot": slot}
                parts.append(CanvasPart(**known, wanted=torch.tensor(follows)))
            states.append(backbone.partial_states(parts))
        found.append(states)
    for theirs, ours in zip(*found, strict=True):
        assert_close(ours, theirs)


def test_cached_decoding_does_not_depend_on_the_batch(pair):
    if INTERPRETED:
        pytest.skip("slow in the interpreter")
    from lm_eval_mdlm import generate

    _, fused = pair
    for cache in ("prefix", "dual"):
        options = {"gen_length": 40, "block_length": 16, "k": 3, "cache": cache}
        alone = generate(fused, CANVASES * 4, batch_size=1, **options)
        assert generate(fused, CANVASES * 4, batch_size=7, **options) == alone
