"""Logits against those of the published code, stored beside tiny checkpoints."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from lm_eval_mdlm import load_backbone
from tests.checkpoints.plain import edit_config
from tests.golden import GOLDEN, needs_golden
from tests.tiny import write_weights


CASES = ("single", "batch", "all_mask", "long", "left_pad", "right_pad")
pytestmark = needs_golden


@pytest.fixture(scope="module", params=["llada_tiny", "llada_gqa_tiny", "llada_sharded_tiny", "dream_tiny"])
def golden(request):
    folder = GOLDEN / request.param
    return load_backbone(str(folder), device="cpu"), load_file(folder / "golden_logits.safetensors"), request.param


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_published_code(golden, case, record_property):
    backbone, stored, name = golden
    token_ids, logits = stored[f"{case}.input_ids"], stored[f"{case}.logits"]
    present = stored.get(f"{case}.attention_mask", torch.ones_like(token_ids)).bool()
    assert present.all() != case.endswith("_pad"), "a padded case must hold padding, or it tests nothing"
    computed = backbone.logits([row[here] for row, here in zip(token_ids, present, strict=True)])
    largest = 0.0
    for ours, theirs, here in zip(computed, logits, present, strict=True):
        expected = theirs[here]
        if name == "dream_tiny":  # stored as the network puts them out: row i - 1 for token i
            expected = torch.stack([expected[0], *expected[:-1]])
        largest = max(largest, (ours - expected).abs().max().item())
    print(f"{name} {case}: max abs difference {largest:.2e}")
    record_property("max_abs_difference", largest)
    assert largest <= 1e-5


@pytest.fixture(scope="module", params=["llada_moe_tiny", "llada2_tiny"])
def further(request, tmp_path_factory):
    """A golden checkpoint of a further family, made complete: name, folder and stored outputs.

    The published configs leave the mask, and that of LLaDA2 the end of text, to the tokenizer, and there is none here.
    """
    folder = tmp_path_factory.mktemp("golden") / request.param
    shutil.copytree(GOLDEN / request.param, folder)
    edit_config(folder, mask_token_id=500, eos_token_id=490)
    return request.param, folder, load_file(folder / "golden_logits.safetensors")


def _largest_difference(backbone, stored, case):
    token_ids = stored[f"{case}.input_ids"]
    present = stored.get(f"{case}.attention_mask", torch.ones_like(token_ids)).bool()
    computed = backbone.logits([row[here] for row, here in zip(token_ids, present, strict=True)])
    expected = [row[here] for row, here in zip(stored[f"{case}.logits"], present, strict=True)]
    return max((ours - theirs).abs().max().item() for ours, theirs in zip(computed, expected, strict=True))


@pytest.mark.parametrize("sharded", [False, True], ids=["single", "shards"])
def test_logits_of_further_families_are_those_of_the_published_code(further, sharded, tmp_path):
    """The stored outputs of LLaDA2 without a block mask are of one block that is as long as any canvas."""
    name, folder, stored = further
    if sharded:
        weights = load_file(folder / "model.safetensors")
        folder = shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors"))
        write_weights(folder, weights, sharded=True)
    one_block = {"grid_block": 512} if name == "llada2_tiny" else {}
    backbone = load_backbone(str(folder), device="cpu", **one_block)
    for case in CASES:
        assert _largest_difference(backbone, stored, case) <= 2e-5, case


def test_logits_under_a_block_mask_are_those_of_the_published_code(further):
    name, folder, stored = further
    if "block8.logits" not in stored:
        pytest.skip(f"{name} sees the whole canvas")
    rows = stored["block8.mask4d"][:, 0]
    block = torch.arange(rows.shape[-1]) // 8
    assert (rows.bool() if rows.dtype == torch.bool else rows == 0).eq(block[:, None] >= block[None, :]).all()
    backbone = load_backbone(str(folder), device="cpu", grid_block=8)
    assert _largest_difference(backbone, stored, "block8") <= 2e-5
    other = load_backbone(str(folder), device="cpu", grid_block=4)
    assert _largest_difference(other, stored, "block8") > 0.1
