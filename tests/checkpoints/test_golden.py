"""Logits against those of the published code, stored beside tiny checkpoints."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lm_eval_mdlm import UsageError, load_backbone


GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
CASES = ("single", "batch", "all_mask", "long", "left_pad", "right_pad")
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden checkpoints (../shared/golden) are not here")


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


@pytest.mark.parametrize(("name", "named"), [("llada_moe_tiny", "LLaDAMoEModelLM"), ("llada2_tiny", "llada2_moe")])
def test_families_that_are_not_supported_yet_are_refused_by_name(name, named):
    with pytest.raises(UsageError, match=named) as refusal:
        load_backbone(str(GOLDEN / name))
    assert "LLaDA-8B" in str(refusal.value)
    assert "Dream-7B" in str(refusal.value)
    assert "\n" not in str(refusal.value)
