"""Options of the further families' configs that are not mapped: each is refused by its name."""

import pytest

from tests.checkpoints.plain import edit_config
from tests.checkpoints.test_refusals import refusal
from tests.tiny import make_checkpoint


LLADA_MOE = {
    "shared_expert_intermediate_size": 32,
    "moe_router_enable_expert_bias": True,
    "moe_router_score_function": "sigmoid",
    "partial_rotary_factor": 0.5,
    "qk_layernorm": False,
    "clip_qkv": 8.0,
    "routed_scaling_factor": 2.5,
    "router_num_group": 4,
    "moe_layer_freq": [1],
    "attention_bias": True,
    "router_of_tomorrow": 1,
}
LLADA2_OPTIONS = {
    "expert_capacity": 48,
    "delete_token_id": 490,
    "split_token_id": 491,
    "score_function": "softmax",
    "moe_router_enable_expert_bias": False,
    "router_dtype": "bf16",
    "norm_topk_prob": False,
    "use_qk_norm": False,
    "use_qkv_bias": True,
    "n_group": 3,
    "topk_group": 5,
    "rotary_dim": 4,
    "num_shared_experts": 0,
    "rope_scaling": {"type": "yarn"},
    "first_k_dense_replace": -1,
    "router_of_tomorrow": "block",
    "head_dim": 15,
}
SDAR_OPTIONS = {"attention_bias": True, "use_sliding_window": True, "router_of_tomorrow": 1, "head_dim": "16"}
SDAR_MOE_OPTIONS = {"decoder_sparse_step": 2, "mlp_only_layers": [0], "norm_topk_prob": ..., "n_group": 2}
STABLE_OPTIONS = {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 3, "rope_scaling": {"type": "yarn"}}
OPTIONS = [
    (family, name, value)
    for family, options in (
        ("llada_moe", LLADA_MOE),
        ("llada2", LLADA2_OPTIONS),
        ("sdar", SDAR_OPTIONS),
        ("sdar_moe", SDAR_MOE_OPTIONS),
        ("stable_diffcoder", STABLE_OPTIONS),
    )
    for name, value in options.items()
]


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    folders = {}
    for family in dict.fromkeys(family for family, _, _ in OPTIONS):
        folders[family] = make_checkpoint(tmp_path_factory.mktemp("configs") / f"{family}-b4", family, tokenizer=False)
        (folders[family] / "model.safetensors").write_bytes(b"")  # none of them is read
    return {family: (folder, (folder / "config.json").read_text()) for family, folder in folders.items()}


@pytest.mark.parametrize(("family", "name", "value"), OPTIONS, ids=[f"{family}-{name}" for family, name, _ in OPTIONS])
def test_an_option_that_is_not_mapped_is_refused_by_name_before_weights_are_read(configs, family, name, value):
    folder, original = configs[family]
    options = {"mask_token_id": 9, **({"grid_block": 4} if family == "llada2" else {})}
    (folder / "config.json").write_text(original)
    edit_config(folder, eos_token_id=401)
    assert "must be a whole safetensors file" in refusal(folder, **options)
    edit_config(folder, **{name: value})
    assert f"{folder / 'config.json'}: {name} " in refusal(folder, **options)
