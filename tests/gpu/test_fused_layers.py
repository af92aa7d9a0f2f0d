"""Fused layers against transformers' own, over whole canvases and over parts of them.

On a GPU in bfloat16: fused layers may be as far from float32 as transformers' own layers in bfloat16 are. In Triton's
interpreter (see test_kernels.py) in float32, with a stand-in for the attention kernel.
"""

import copy
from types import SimpleNamespace

import pytest
import torch

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.backbones import packed
from lm_eval_mdlm.backbones.backbone import CanvasPart
from lm_eval_mdlm.backbones.fusable import fusable
from lm_eval_mdlm.backbones.layers import TransformersLayers
from tests.gpu.test_kernels import DEVICE, INTERPRETED, pytestmark  # noqa: F401
from tests.tiny import FAMILIES, make_checkpoint


CANVASES = [[3 + (7 * i + 11 * j) % 380 for j in range(length)] for i, length in enumerate((30, 9, 51))]
PARTS = ([4, 5, 6, 20], [0, 1], list(range(30, 51)))


AS_FAR = 1.25
"""Times as far from float32 as transformers' own layers that fused ones may be: the two round in the same places, so
that only chance tells them apart."""


@pytest.fixture(params=FAMILIES)
def trio(request, tmp_path, monkeypatch):
    """The layers as they are in float32 on the CPU, as they are in the dtype of the fused ones, and the fused ones."""
    sizes = {"hidden": 128, "layers": 3, "heads": 4, "kv_heads": 2, "ffn": 256}
    checkpoint = str(make_checkpoint(tmp_path, request.param, **sizes))
    exact = load_backbone(checkpoint, device="cpu")
    if not INTERPRETED:
        fused = load_backbone(checkpoint, device=DEVICE)
        assert fused.description["body"] == "fused layers, recorded passes"
        with monkeypatch.context() as patched:
            patched.setattr(packed, "body_of", TransformersLayers)
            return exact, load_backbone(checkpoint, device=DEVICE), fused
    from lm_eval_mdlm.backbones import fused as module
    from tests.backbones.test_recorded_passes import varlen

    def attend(query, key, value, starts, key_starts, longest, *, scale, visible):
        assert visible is None
        return varlen(query, key, value, starts, key_starts, longest, len(key), scale=scale)

    monkeypatch.setattr(module, "attend", attend)  # the kernel has tests of its own, and takes minutes here
    fused = copy.deepcopy(exact)
    network = SimpleNamespace(model=fused._body._body, config=fused._body._body.config, dtype=fused.dtype)
    assert fusable(network)
    fused._body = module.FusedLayers(network, fused._body._table, fused._products)
    return exact, exact, fused


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double().cpu() - theirs.double().cpu()).norm() / theirs.double().norm())


def assert_as_close(exact: torch.Tensor, plain: torch.Tensor, fused: torch.Tensor) -> None:
    allowed = 1e-4 if INTERPRETED else AS_FAR * distance(plain, exact)
    assert distance(fused, exact) <= allowed
    assert distance(fused, plain) <= (1e-4 if INTERPRETED else 2 * distance(plain, exact))


@torch.inference_mode()
def test_whole_canvases(trio):
    sequences = [torch.tensor(canvas) for canvas in CANVASES]
    for logits in zip(*(backbone.logits(sequences) for backbone in trio), strict=True):
        assert_as_close(*logits)


@torch.inference_mode()
def test_parts_of_canvases_over_keys_and_values_of_an_earlier_pass(trio):
    found = []
    for backbone in trio:
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
    for states in zip(*found, strict=True):
        assert_as_close(*states)


def test_cached_decoding_does_not_depend_on_the_batch(trio):
    if INTERPRETED:
        pytest.skip("slow in the interpreter")
    from lm_eval_mdlm import generate

    *_, fused = trio
    for cache in ("prefix", "dual"):
        options = {"gen_length": 40, "block_length": 16, "k": 3, "cache": cache}
        alone = generate(fused, CANVASES * 4, batch_size=1, **options)
        assert generate(fused, CANVASES * 4, batch_size=7, **options) == alone
