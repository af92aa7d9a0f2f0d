"""The benchmark of further families: what it counts, and that it runs what it says."""

import pytest
import torch

from benchmarks import families
from benchmarks.flops import block_bytes, pass_flops, seen_pairs
from benchmarks.networks import SHAPES, random_backbone
from lm_eval_mdlm import UsageError
from tests.test_benchmark_scripts import run_script
from tests.test_benchmarks import counted_by_torch


@pytest.mark.parametrize("name", ["tiny-sdar", "tiny-llada-moe", "tiny-llada2"])
def test_flops_of_other_families_are_those_that_torch_counts_in_the_network(name):
    other = random_backbone(SHAPES[name], "cpu", torch.float32)
    other._body._body.config._experts_implementation = "eager"  # one product for each expert, which the counter knows
    assert pass_flops(SHAPES[name], [96], 70) == counted_by_torch(other, [96], 70)
    assert pass_flops(SHAPES[name], [80], 3) < pass_flops(SHAPES[name], [96], 70)


def test_tokens_behind_known_ones_see_the_pairs_that_the_mask_leaves_them():
    for name, size in (("tiny", 60), ("tiny-sdar", 4), ("tiny-llada2", 8)):
        block = torch.arange(60) // size
        mask = block[:, None] >= block[None, :]
        assert seen_pairs(SHAPES[name], 60) == mask.sum()
        assert seen_pairs(SHAPES[name], 60, 48) == mask[48:].sum()


@pytest.mark.parametrize("name", ["tiny", "tiny-sdar", "tiny-llada-moe", "tiny-llada2"])
def test_bytes_of_a_pass_in_which_all_experts_are_chosen_are_those_of_all_matrices(name):
    shape = SHAPES[name]
    body = random_backbone(shape, "cpu", torch.float32)
    weights = sum(p.numel() for layer in body._body._body.layers for p in layer.parameters() if p.ndim > 1)
    layers = shape.layers - shape.experts.dense_layers if shape.experts else 0
    chosen = [shape.experts.number] * layers if layers else []
    assert block_bytes(shape, chosen, 0, 2) == 2 * (weights + body._lm_head.weight.numel())
    kept = sum(part[0].numel() for layer in range(shape.layers) for part in body._memory.of_layer(layer))
    assert block_bytes(shape, chosen, 7, 2) - block_bytes(shape, chosen, 0, 2) == 2 * 7 * kept


def test_the_families_script_runs_every_kind_of_pass_and_agrees_with_transformers(tmp_path):
    sizes = ["--prompt", "8", "--region", "16", "--block", "8", "--rows", "2", "--steps", "2", "--repeats", "1"]
    report = run_script(families, tmp_path, "--shape", "tiny-llada2", *sizes)
    found = [(row["pass"].split(",")[0], row["by"]) for row in report["rows"]]
    by = ["ours", "transformers, grouped_mm", "transformers, batched_mm"]
    assert found == [
        *(("whole", name) for name in by),
        *(("block", name) for name in by),
        *(("decode", name) for name in ("no cache", "prefix cache")),
    ]
    apart = [row["logits apart"] for row in report["rows"] if "logits apart" in row]
    assert len(apart) == 4 and max(apart) < 1e-5
    assert [row["tokens"] for row in report["rows"][:6]] == [48] * 3 + [16] * 3


@pytest.mark.parametrize(("prompt", "block"), [("11", "8"), ("12", "4")])
def test_blocks_lie_on_the_grid(tmp_path, prompt, block):
    sizes = ["--prompt", prompt, "--region", "16", "--block", block]
    with pytest.raises(UsageError, match="must be a multiple of"):
        run_script(families, tmp_path, "--shape", "tiny-llada2", *sizes)


@torch.inference_mode()
def test_experts_are_counted_by_what_the_router_chose():
    backbone = random_backbone(SHAPES["tiny-llada2"], "cpu", torch.float32)
    canvases = families.Canvases.of(backbone, 1, 16, 8)
    routers = [layer.mlp.gate for layer in backbone._body._body.layers[1:]]
    chosen = [set(), set()]
    for router, own in zip(routers, chosen, strict=True):
        router.register_forward_hook(lambda _, __, out, own=own: own.update(out[2].flatten().tolist()))
    assert families.chosen_experts(canvases, canvases.whole) == [len(own) for own in chosen]
