"""LLaDA's official sampling loop, token for token, by the options that correspond to it."""

import json

import pytest
from safetensors.torch import load_file

from lm_eval_mdlm import generate, load_backbone
from tests.golden import GOLDEN, needs_golden


@needs_golden
@pytest.mark.parametrize("checkpoint", ["llada_tiny", "llada_gqa_tiny", "llada_sharded_tiny"])
@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("case", ["full16", "semi", "few", "uneven", "cfg", "padded"])
def test_official_loop_is_reproduced_token_for_token(checkpoint, case, batch_size):
    folder = GOLDEN / checkpoint
    settings = json.loads((folder / "golden_meta.json").read_text())["generate"][case]
    data = {
        name.removeprefix(f"gen.{case}."): t for name, t in load_file(folder / "golden_generate.safetensors").items()
    }
    padding = (data["attention_mask"] == 0).sum(-1).tolist() if "attention_mask" in data else [0]
    prompts = [row[n:].tolist() for row, n in zip(data["prompt"], padding, strict=True)]
    found = generate(
        load_backbone(str(folder), dtype="float32", device="cpu"),
        prompts,
        batch_size=batch_size,
        score="confidence",
        steps=settings["steps"],
        gen_length=settings["gen_length"],
        block_length=settings["block_length"],
        cfg_scale=settings["cfg_scale"],
    )
    assert [g.token_ids for g in found] == data["output"][:, data["prompt"].shape[1] :].tolist()
    passes = settings["steps"] * (2 if settings["cfg_scale"] else 1)
    assert [g.nfe for g in found] == [passes] * len(prompts)
