"""Networks with experts and block-causal ones against slow or foreign computations of the same."""

import gc
import json
import tempfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.models.glm4_moe.configuration_glm4_moe import Glm4MoeConfig
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeTopkRouter

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.backbones.stable_experts import stable_route
from lm_eval_mdlm.training.networks import Source
from lm_eval_mdlm.training.saving import save_checkpoint
from tests.checkpoints.plain import plain_logits
from tests.checkpoints.test_refusals import refusal
from tests.tiny import make_checkpoint, random_ids, write_weights
from tests.tiny_families import FAMILIES, MOE_FAMILIES


GRIDS = {"sdar": {"grid_block": 4}, "sdar_moe": {"grid_block": 4}}
"""What has to be given to load a tiny checkpoint whose folder's name does not tell."""


def load(folder, family, **options):
    return load_backbone(str(folder), device="cpu", **{**GRIDS.get(family, {}), **options})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {family: make_checkpoint(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="module")
def loaded(folders):
    return {family: load(folder, family) for family, folder in folders.items()}


def _same_by_transformers(folder, family):
    """SDAR's own weights in transformers' class, loaded without anything of this package."""
    options = json.loads((folder / "config.json").read_text())
    kinds = {"sdar": (Qwen3Config, Qwen3ForCausalLM), "sdar_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM)}
    config, network = kinds[family]
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
    names += ("intermediate_size", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings")
    if family == "sdar_moe":
        names += ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob")
    rope = {"rope_type": "default", "rope_theta": options["rope_theta"]}
    chosen = config(**{name: options[name] for name in names}, rope_parameters=rope, use_sliding_window=False)
    return network.from_pretrained(
        str(folder), config=chosen, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    ).eval()


@pytest.mark.parametrize("family", ["sdar", "sdar_moe"])
@pytest.mark.parametrize("size", [4, 32])
def test_sdar_is_qwen3_under_a_block_mask(folders, family, size):
    network, backbone = _same_by_transformers(folders[family], family), load(folders[family], family, grid_block=size)
    ids = random_ids(67)
    block = torch.arange(67) // size
    sees = block[:, None] >= block[None, :]
    mask = torch.zeros(67, 67).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
    with torch.inference_mode():
        expected = network(ids[None], attention_mask=mask).logits[0]
        whole = network(ids[None], attention_mask=torch.zeros_like(mask)).logits[0]
    logits = backbone.logits([ids])[0]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert (expected - whole).abs().max() > 0.1, "the mask must matter, or this tests nothing"


def test_stable_diffcoder_is_llama_in_one_block_that_holds_the_canvas(tmp_path):
    folder = make_checkpoint(tmp_path, "stable_diffcoder", tokenizer=False, head_scale=1.0)
    backbone = load_backbone(str(folder), device="cpu", grid_block=512, mask_token_id=403)
    config = json.loads((folder / "config.json").read_text())
    sizes = {"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings"}
    assert sizes <= config.keys()
    ids = random_ids(40)
    # Dream's names and sizes are Llama's; its oracle reads token i from row i - 1, and has no biases here.
    shifted = plain_logits(folder, "dream", ids)
    torch.testing.assert_close(backbone.logits([ids])[0][:-1].double(), shifted[1:], atol=1e-3, rtol=0)


def _slow_router(states, weight, bias, *, top_k, num_groups, admitted, scale):
    """The published rule for one token after another, in plain Python."""
    chosen, weights = [], []
    for state in states.double():
        scores = [1 / (1 + float(torch.exp(-(state @ row)))) for row in weight.double()]
        biased = [score + float(b) for score, b in zip(scores, bias, strict=True)]
        size = len(scores) // num_groups
        groups = [sum(sorted(biased[g * size : (g + 1) * size])[-2:]) for g in range(num_groups)]
        best = sorted(range(num_groups), key=lambda g: -groups[g])[:admitted]
        open_to = [e for e in range(len(scores)) if e // size in best]
        taken = sorted(open_to, key=lambda e: -biased[e])[:top_k]
        total = sum(scores[e] for e in taken) + 1e-20
        chosen.append(taken)
        weights.append([scores[e] / total * scale for e in taken])
    return chosen, weights


@pytest.mark.skipif(
    not hasattr(Glm4MoeTopkRouter(Glm4MoeConfig(n_routed_experts=4, hidden_size=4)), "num_group"),
    reason="this transformers chooses experts outside the router",
)
@pytest.mark.parametrize("stable", [False, True], ids=["of transformers", "stable"])
@pytest.mark.parametrize("shift", [-2.0, -0.6, 0.0])
def test_the_router_of_llada2_keeps_to_the_admitted_groups_whatever_the_biases(stable, shift):
    sizes = {"n_routed_experts": 16, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "hidden_size": 24}
    router = Glm4MoeTopkRouter(Glm4MoeConfig(**sizes, routed_scaling_factor=2.5, norm_topk_prob=True))
    draw = torch.Generator().manual_seed(3)
    router.weight.data = torch.randn(16, 24, generator=draw) / 5
    router.e_score_correction_bias.copy_(0.3 * torch.randn(16, generator=draw) + shift)
    states = torch.randn(200, 24, generator=draw)
    with torch.inference_mode():
        _, weights, chosen = stable_route(router, states) if stable else router(states)
    expected, shares = _slow_router(
        states, router.weight.data, router.e_score_correction_bias, top_k=4, num_groups=4, admitted=2, scale=2.5
    )
    for i in range(200):
        found = dict(zip(chosen[i].tolist(), weights[i].tolist(), strict=True))
        assert found == pytest.approx(dict(zip(expected[i], shares[i], strict=True)), abs=1e-5)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_rows_of_networks_with_experts_have_the_same_bits_in_any_company(loaded, family, num_threads):
    backbone = loaded[family]
    ids = random_ids(37, seed=4)
    alone = backbone.logits([ids])[0]
    for seed, before, after in ((1, (), (1,)), (2, (3,), ()), (3, (97, 31), (7,))):
        mates = [[random_ids(length, seed=seed) for length in lengths] for lengths in (before, after)]
        together = backbone.logits([*mates[0], ids, *mates[1]])
        assert torch.equal(together[len(before)], alone), (before, after)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_that_is_saved_again_is_the_same(folders, loaded, family, tmp_path):
    save_checkpoint(Source.open(str(folders[family])).load(torch.float32), tmp_path, dtype=torch.float32)
    before, after = (load_file(folder / "model.safetensors") for folder in (folders[family], tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids = random_ids(50)
    assert torch.equal(load(tmp_path, family).logits([ids])[0], loaded[family].logits([ids])[0])


@pytest.mark.parametrize("family", ["llada2"])
def test_a_router_bias_keeps_its_bits_in_a_narrow_checkpoint(folders, family, tmp_path):
    save_checkpoint(Source.open(str(folders[family])).load(torch.float32), tmp_path, dtype=torch.bfloat16)
    before, after = (load_file(folder / "model.safetensors") for folder in (folders[family], tmp_path))
    biases = {name for name in after if name.endswith("expert_bias")}
    assert biases and all(torch.equal(after[name], before[name]) for name in biases)
    assert all(after[name].dtype == torch.bfloat16 for name in after.keys() - biases)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_weights_in_the_form_of_the_native_network_are_read_too(folders, loaded, family, tmp_path):
    source = Source.open(str(folders[family]))
    weights = source.load(torch.float32).network.state_dict()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folders[family] / name).read_bytes())
    save_file({name: weight.clone() for name, weight in weights.items()}, tmp_path / "model.safetensors")
    ids = random_ids(50)
    assert torch.equal(load(tmp_path, family).logits([ids])[0], loaded[family].logits([ids])[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_give_the_same_network(loaded, family, tmp_path):
    folder = make_checkpoint(tmp_path, family, sharded=True)
    ids = random_ids(50)
    assert torch.equal(load(folder, family).logits([ids])[0], loaded[family].logits([ids])[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_parts_on_disk_give_the_same_network(folders, loaded, family, tmp_path, monkeypatch):
    places = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    places |= {"model.rotary_emb": "cpu", "lm_head": "disk"}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spread = load_backbone(str(folders[family]), device_map=places, **GRIDS.get(family, {}))
    assert [folder.name[:13] for folder in tmp_path.iterdir()] == ["lm_eval_mdlm-"]
    ids = random_ids(50)
    assert torch.equal(spread.logits([ids])[0], loaded[family].logits([ids])[0])
    del spread
    gc.collect()
    assert not list(tmp_path.iterdir())


DAMAGED = {
    "llada_moe": ("model.layers.1.mlp.experts.3.up_proj.weight", [32, 64]),
    "llada2": ("model.layers.1.attention.query_key_value.weight", [128, 64]),
    "sdar_moe": ("model.layers.0.mlp.experts.7.down_proj.weight", [64, 32]),
}


@pytest.mark.parametrize("family", DAMAGED)
def test_pieces_that_are_missing_left_over_or_misshapen_are_named_as_they_are_stored(folders, family, tmp_path):
    folder = make_checkpoint(tmp_path, family)
    name, shape = DAMAGED[family]
    weights = load_file(folder / "model.safetensors")
    short = weights[name][:-1].clone()
    write_weights(folder, {**weights, name: short})
    message = refusal(folder, **GRIDS.get(family, {}))
    assert f"1 mismatched ({name} {list(short.shape)} instead of {shape})" in message
    missing = {other: weight for other, weight in weights.items() if other != name}
    write_weights(folder, {**missing, "model.layers.1.mlp.experts.8.up_proj.weight": weights[name]})
    message = refusal(folder, **GRIDS.get(family, {}))
    assert "1 missing (" in message and "1 unexpected (model.layers.1.mlp.experts.8.up_proj.weight)" in message


@pytest.mark.parametrize("family", DAMAGED)
def test_a_number_that_is_none_is_named_with_the_piece_that_holds_it(family, tmp_path):
    folder = make_checkpoint(tmp_path, family)
    name, _ = DAMAGED[family]
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[-1] = torch.nan
    write_weights(folder, weights)
    told = f"{name} must hold finite numbers, got 1 of {weights[name].numel()} that are NaN"
    assert told in refusal(folder, **GRIDS.get(family, {}))


@pytest.mark.parametrize("family", ["llada2"])
def test_a_router_bias_that_is_no_number_is_named(family, tmp_path):
    folder = make_checkpoint(tmp_path, family)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.gate.expert_bias"][2] = torch.inf
    write_weights(folder, weights)
    assert "model.layers.1.mlp.gate.expert_bias must hold finite numbers, got 1 of 8" in refusal(folder)
