"""Adapters of networks whose weights are stored in pieces: under either name they change what they belong to."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_eval_mdlm.checkpoints.adapter import Adapter
from lm_eval_mdlm.training.networks import Source
from lm_eval_mdlm.training.saving import save_checkpoint
from tests.checkpoints.test_further_families import load
from tests.checkpoints.test_refusals import refusal
from tests.tiny import make_checkpoint, random_ids, write_weights


def adapter_of(folder, shapes, targets):
    """Random matrices of rank 2 for layers of (out, in) features, as peft lays them out; and their products."""
    folder.mkdir()
    draw, matrices, products = torch.Generator().manual_seed(1), {}, {}
    for name, (outer, inner) in shapes.items():
        a, b = (torch.randn(shape, generator=draw) / 4 for shape in ((2, inner), (outer, 2)))
        matrices |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
        products[name] = b @ a * 2.0
    save_file(matrices, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder, products


HUB = {
    "llada2": {
        **{f"model.layers.{i}.attention.query_key_value": (128, 64) for i in range(2)},
        **{f"model.layers.{i}.attention.dense": (64, 64) for i in range(2)},
        **{f"model.layers.1.mlp.experts.{i}.up_proj": (32, 64) for i in range(8)},
        "model.layers.1.mlp.shared_experts.up_proj": (32, 64),
        "model.layers.0.mlp.up_proj": (96, 64),
    },
    "llada_moe": {
        **{f"model.layers.{i}.self_attn.v_proj": (64, 64) for i in range(2)},
        **{f"model.layers.{i}.mlp.experts.{j}.down_proj": (64, 32) for i in range(2) for j in range(8)},
    },
}
TARGETS = {"llada2": ["query_key_value", "dense", "up_proj"], "llada_moe": ["v_proj", "down_proj"]}


@pytest.mark.parametrize("family", HUB)
def test_an_adapter_in_the_names_of_the_published_code_is_added_to_the_pieces_it_names(tmp_path, family):
    base = make_checkpoint(tmp_path / "base", family)
    adapter, products = adapter_of(tmp_path / "adapter", HUB[family], TARGETS[family])
    weights = load_file(base / "model.safetensors")
    summed = {name: weight + products.get(name.removesuffix(".weight"), 0.0) for name, weight in weights.items()}
    assert sum(not torch.equal(summed[name], weights[name]) for name in weights) == len(HUB[family])
    expected = make_checkpoint(tmp_path / "expected", family)
    write_weights(expected, summed)
    ids = random_ids(50)
    ours = load(base, family, peft=str(adapter)).logits([ids])[0]
    assert torch.equal(ours, load(expected, family).logits([ids])[0])


def test_an_adapter_in_native_names_is_added_to_its_rows_of_a_fused_weight(tmp_path):
    base = make_checkpoint(tmp_path / "base", "llada2")
    shapes = {f"model.layers.{i}.self_attn.{part}_proj": ({"q": 64}.get(part, 32), 64) for i in (0, 1) for part in "qv"}
    adapter, products = adapter_of(tmp_path / "adapter", shapes, ["q_proj", "v_proj"])
    trained = Source.open(str(base)).load(torch.float32)
    for name, product in products.items():
        trained.network.get_submodule(name).weight.data += product
    save_checkpoint(trained, tmp_path / "expected", dtype=torch.float32)
    ids = random_ids(50)
    ours = load(base, "llada2", peft=str(adapter)).logits([ids])[0]
    assert torch.equal(ours, load(tmp_path / "expected", "llada2").logits([ids])[0])


def test_gaps_and_misfits_are_named(tmp_path):
    base = make_checkpoint(tmp_path / "base", "llada2")
    shapes = dict(HUB["llada2"])
    del shapes["model.layers.1.mlp.experts.3.up_proj"]
    adapter, _ = adapter_of(tmp_path / "gap", shapes, TARGETS["llada2"])
    assert "no matrices for model.layers.1.mlp.experts.3.up_proj.weight" in refusal(base, peft=str(adapter))
    assert Adapter.open(str(adapter)).scaling(2) == 2.0
    adapter, _ = adapter_of(tmp_path / "tall", {"model.layers.0.self_attn.k_proj": (64, 64)}, ["k_proj"])
    assert "[64, 2] x [2, 64] for model.layers.0.self_attn.k_proj.weight of [32, 64]" in refusal(
        base, peft=str(adapter)
    )
    adapter, _ = adapter_of(tmp_path / "deep", {"model.layers.1.mlp.experts.gate_up_proj": (64, 64)}, ["gate_up_proj"])
    assert "no linear layer model.layers.1.mlp.experts.gate_up_proj" in refusal(base, peft=str(adapter))
