"""On a GPU: the variable-length kernel, offloading, and the same bits in any company."""

import pytest
import torch

from lm_eval_mdlm import load_backbone
from tests.tiny import make_checkpoint, random_ids


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_half_precision_takes_the_variable_length_kernel_and_agrees_with_the_cpu(checkpoints, backbones, family):
    backbone = load_backbone(str(checkpoints[family]))
    assert backbone.description["attention"] == "mdlm_packed_varlen"
    assert backbone.description["body"] == "fused layers, recorded passes"
    assert (backbone.device.type, backbone.dtype) == ("cuda", torch.bfloat16)
    sequences = [random_ids(length) for length in (40, 1, 130)]
    wide = load_backbone(str(checkpoints[family]), device="cpu", dtype="bfloat16").logits(sequences)
    for ours, narrow, exact in zip(backbone.logits(sequences), wide, backbones[family].logits(sequences), strict=True):
        # No further from float32 than the other kernel's own rounding takes it.
        assert (ours.cpu() - exact).abs().mean() <= 1.5 * (narrow - exact).abs().mean() + 0.01


def test_float32_on_a_gpu_gives_the_logits_of_the_cpu(checkpoints, backbones, family):
    backbone = load_backbone(str(checkpoints[family]), dtype="float32")
    assert backbone.description["attention"] == "mdlm_packed_sdpa"
    sequences = [random_ids(length) for length in (40, 1, 130)]
    for ours, expected in zip(backbone.logits(sequences), backbones[family].logits(sequences), strict=True):
        torch.testing.assert_close(ours.cpu(), expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("waiting", ["cpu", "disk"])
def test_parts_that_wait_elsewhere_give_the_logits_of_a_network_on_the_gpu(checkpoints, family, waiting):
    parts = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head")
    spread = load_backbone(
        str(checkpoints[family]), device_map={part: waiting if part == "model.layers.1" else 0 for part in parts}
    )
    whole = load_backbone(str(checkpoints[family]))
    sequences = [random_ids(30), random_ids(90)]
    for ours, expected in zip(spread.logits(sequences), whole.logits(sequences), strict=True):
        # Spread networks run transformers' own layers, which round in the same places and sum in another order.
        assert (ours.float() - expected.float()).norm() <= 0.02 * expected.float().norm()
    assert spread.description["body"] == "layers of transformers" != whole.description["body"]
    assert spread.dtype == torch.bfloat16 and spread.device.type == "cuda"


def test_logits_have_the_same_bits_alone_and_in_any_company_on_a_gpu(tmp_path, family):
    sizes = {"hidden": 1024, "heads": 8, "ffn": 3072, "layers": 4, "vocab": 4096, "max_length": 4096}
    backbone = load_backbone(str(make_checkpoint(tmp_path, family, **sizes)))
    assert backbone.description["rows_are_bitwise_independent"]
    for length in (1, 150, 387, 700):
        ids = random_ids(length, seed=7)
        alone = backbone.logits([ids])[0]
        for company in ([1], [387], [300, 700, 1000], [64, 3000], [406] * 15):
            mates = [random_ids(mate) for mate in company]
            for place in {0, len(mates) // 2, len(mates)}:
                packed = backbone.logits([*mates[:place], ids, *mates[place:]])[place]
                assert torch.equal(packed, alone), f"{length} tokens at place {place} among {company}"
