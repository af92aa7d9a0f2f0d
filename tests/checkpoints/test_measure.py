"""Networks beyond all measure: refused in one line, from the configuration alone."""

import json

import pytest

from lm_eval_mdlm import UsageError
from lm_eval_mdlm.checkpoints.families.known import family_of
from lm_eval_mdlm.checkpoints.raw_config import RawConfig
from tests.tiny import dream_config, llada_config
from tests.tiny_families import FAMILIES, make_config


SHAPE = {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 4, "ffn": 96, "vocab": 512, "max_length": 512}
CONFIGS = {
    "llada": llada_config(**SHAPE, tied=False, qkv_bias=False),
    "dream": dream_config(**SHAPE, tied=False, qkv_bias=False),
    **{family: make_config(family, **SHAPE, tied=False, first_added=480) for family in FAMILIES},
    "encoder": {"model_type": "bert", "hidden_size": 64, "num_attention_heads": 4},
}
WITH_EXPERTS = ("llada_moe", "llada2", "sdar_moe")


def architecture(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    raw = RawConfig.read(tmp_path)
    return family_of(raw).architecture(raw)


def refusal(tmp_path, config):
    with pytest.raises(UsageError) as caught:
        architecture(tmp_path, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", [family for family in CONFIGS if family != "encoder"])
def test_sizes_that_multiply_beyond_measure_are_refused(tmp_path, family):
    widths = ("hidden_size", "d_model", "intermediate_size", "mlp_hidden_size", "vocab_size", "embedding_size")
    more = ("moe_intermediate_size", "expert_intermediate_size", "dense_intermediate_size")
    config = CONFIGS[family]
    wide = {**config, **{name: 2**24 for name in (*widths, *more) if config.get(name) is not None}}
    assert "must make a network of at most" in refusal(tmp_path, wide)


@pytest.mark.parametrize("family", WITH_EXPERTS)
def test_experts_are_counted(tmp_path, family):
    config = CONFIGS[family]
    assert "num_experts must be a positive whole number of at most 4096" in refusal(
        tmp_path, {**config, "num_experts": 10**6}
    )
    many = {**config, "num_experts": 4096, "num_hidden_layers": 33}
    many |= {"moe_layer_freq": [1] * 33} if "moe_layer_freq" in config else {}
    assert "num_experts must be at most 131072 over all layers" in refusal(tmp_path, many)


@pytest.mark.parametrize("family", ["llada_moe", "sdar_moe"])
def test_no_more_experts_are_chosen_than_there_are(tmp_path, family):
    config = {**CONFIGS[family], "num_experts": 4, "num_experts_per_tok": 5}
    assert "num_experts_per_tok must be a positive whole number of at most 4" in refusal(tmp_path, config)


def test_a_width_that_llama_does_not_take_is_refused(tmp_path):
    config = {**CONFIGS["stable_diffcoder"], "hidden_size": 66}
    assert "num_attention_heads must divide hidden_size=66" in refusal(tmp_path, config)


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"])
def test_sizes_of_an_encoder_are_bounded(tmp_path, name):
    assert f"{name} must be at most" in refusal(tmp_path, {**CONFIGS["encoder"], name: 2**40})


def test_the_largest_published_networks_are_let_in(tmp_path):
    # Kimi K2: 1.04 * 10^12 weights in 61 layers of 384 experts.
    large = {"hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64}
    large |= {"moe_intermediate_size": 2048, "intermediate_size": 18432, "num_experts": 384, "vocab_size": 163840}
    architecture(tmp_path, {**CONFIGS["sdar_moe"], **large, "num_experts_per_tok": 8})
