"""Checkpoints that must not be loaded: each ends in one line that names the file and what is wrong with it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_eval_mdlm import UsageError, load_backbone
from tests.checkpoints.plain import edit_config
from tests.tiny import NUM_ORDINARY_TOKENS, make_checkpoint, special_tokens, token_id


def refusal(folder: Path | str, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        load_backbone(str(folder), **({"device": "cpu"} | options))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


@pytest.fixture
def folder(checkpoints, family, tmp_path):
    return Path(shutil.copytree(checkpoints[family], tmp_path / "checkpoint"))


LLADA_OPTIONS = {
    "block_type": "sequential",
    "block_group_size": 4,
    "activation_type": "swiglu",
    "rope": False,
    "alibi": True,
    "layer_norm_type": "default",
    "layer_norm_with_affine": False,
    "attention_layer_norm": True,
    "bias_for_layer_norm": True,
    "include_bias": True,
    "input_emb_norm": True,
    "scale_logits": True,
    "clip_qkv": 8.0,
    "rope_scaling": {"type": "linear", "factor": 2.0},
    "quantization_config": {"bits": 4},
    "n_heads": 5,
    "n_kv_heads": 3,
    "n_layers": 0,
    "d_model": "64",
    "rms_norm_eps": 0,
    "rope_theta": None,
    "weight_tying": ...,
    "max_sequence_length": ...,
    "multi_query_attention": True,
    "rope_full_precision": "yes",
    "is_causal": True,
}
DREAM_OPTIONS = {
    "hidden_act": "gelu",
    "rope_scaling": {"type": "yarn"},
    "use_sliding_window": True,
    "use_mrope": True,
    "head_dim": 32,
    "attention_bias": True,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "hidden_size": ...,
    "tie_word_embeddings": "no",
    "layer_types": ["full_attention"],
    "quantization_config": {"quant_method": "fp8"},
}
OPTIONS = [("llada", *item) for item in LLADA_OPTIONS.items()] + [("dream", *item) for item in DREAM_OPTIONS.items()]


@pytest.mark.parametrize(("family", "name", "value"), OPTIONS)
def test_a_config_option_that_is_not_mapped_is_refused_by_name(folder, name, value):
    edit_config(folder, **{name: value})
    if name == "multi_query_attention":
        name = "n_kv_heads"  # the two contradict each other
    message = refusal(folder)
    assert f"{folder / 'config.json'}: {name} " in message


@pytest.mark.parametrize("family", ["llada"])
@pytest.mark.parametrize(
    ("model_type", "architectures"),
    [
        ("Dream", ["AnotherModel"]),
        ("llama", ["LlamaForCausalLM"]),
        (None, None),
        ([], {}),
    ],
)
def test_another_family_is_refused_with_the_supported_ones(folder, model_type, architectures):
    message = refusal(edit_config(folder, model_type=model_type, architectures=architectures))
    assert repr(model_type) in message and repr(architectures) in message
    assert "LLaDA-8B" in message and "Dream-7B" in message and "DiffuCoder" in message


@pytest.mark.parametrize("text", ["", "{", "[1]", '"llada"', "\ufffe"])
def test_a_broken_config_is_named(folder, text):
    (folder / "config.json").write_text(text)
    assert str(folder / "config.json") in refusal(folder)


def test_a_folder_without_config_is_named(tmp_path):
    assert f"{tmp_path / 'config.json'} does not exist" in refusal(tmp_path)


def test_a_folder_without_weights_is_named(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert str(folder) in message and "model.safetensors" in message


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_weights_that_are_cut_short_are_named(folder, kept):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert str(file) in refusal(folder)


def test_an_adapter_is_not_loaded_unasked(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter_config.json" in refusal(folder)


def test_a_missing_shard_is_named(tmp_path, family):
    folder = make_checkpoint(tmp_path, family, sharded=True, tokenizer=False)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "1 missing (model-00002-of-00003.safetensors" in refusal(folder)


def test_a_shard_that_is_half_there_is_named(tmp_path, family):
    folder = make_checkpoint(tmp_path, family, sharded=True, tokenizer=False)
    shard = folder / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    assert str(shard) in refusal(folder)


def test_shards_under_each_others_names_are_the_same_network(tmp_path, family):
    folder = make_checkpoint(tmp_path, family, sharded=True, tokenizer=False)
    ids, at = torch.arange(1, 8), torch.arange(7)
    before = load_backbone(str(folder), device="cpu").states(ids, [7], at)
    first, second = (folder / f"model-0000{number}-of-00003.safetensors" for number in (1, 2))
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)
    assert torch.equal(load_backbone(str(folder), device="cpu").states(ids, [7], at), before)
    # In place of another one a shard is missing there, and its own weights are there twice.
    second.write_bytes(first.read_bytes())
    assert "every weight must be stored once" in refusal(folder)


@pytest.mark.parametrize("text", ["{}", "no json", '{"weight_map": ["a"]}', "[]"])
def test_a_broken_index_is_named(tmp_path, text):
    folder = make_checkpoint(tmp_path, sharded=True, tokenizer=False)
    index = folder / "model.safetensors.index.json"
    index.write_text(text)
    assert str(index) in refusal(folder)


def test_missing_unexpected_and_misshapen_weights_are_counted_and_named(folder, family):
    file = folder / "model.safetensors"
    weights = load_file(file)
    part = {"llada": "model.transformer.blocks.{}.attn_norm.weight", "dream": "model.layers.{}.input_layernorm.weight"}
    first, second = (part[family].format(layer) for layer in range(2))
    weights["model.layers.9.stray"] = torch.zeros(3)
    weights[second] = torch.ones(65)
    del weights[first]
    save_file(weights, file)
    message = refusal(folder)
    assert "1 missing (model.layers.0.input_layernorm.weight)" in message
    assert "1 unexpected (model.layers.9.stray)" in message
    assert f"1 mismatched ({second} [65] instead of [64])" in message


def test_many_differences_are_counted_and_the_first_named(folder):
    save_file({}, folder / "model.safetensors")
    message = refusal(folder)
    assert " missing (model.embed_tokens.weight, " in message and ", ...)" in message


def test_more_layers_than_the_config_says_are_unexpected(tmp_path, family):
    folder = make_checkpoint(tmp_path, family, layers=3, tokenizer=False)
    edit_config(folder, **{"n_layers" if family == "llada" else "num_hidden_layers": 2})
    assert " unexpected (" in refusal(folder)


@pytest.mark.parametrize("stored", [torch.int8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(folder, family, stored):
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight.to(stored) for name, weight in weights.items()}, folder / "model.safetensors")
    message = refusal(folder)
    assert str(folder / "model.safetensors") in message and "quantised" in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mask_token_id": 512}, "must be below the 512 rows of the embedding, got 512"),
        ({"mask_token_id": -1}, "got -1"),
        ({"mask_token_id": 1.5}, "mask_token_id must be a token id, got 1.5"),
        ({"eos_token_id": 600}, "eos_token_id must be below the 512 rows"),
        ({"pad_token_id": 402}, "must not be the padding token, got 402"),
        ({"eos_token_id": 402}, "must not be the end-of-text token, got 402"),
        ({"eos_token_id": [401, 402]}, "must not be the end-of-text token, got 402"),
        ({"mask_token_id": 405}, "must not be the end-of-text token, got 405"),  # <|eot_id|>
    ],
)
@pytest.mark.parametrize("family", ["llada"])
def test_special_tokens_that_cannot_be_are_refused(folder, changes, named):
    assert token_id("llada", "<|mdm_mask|>") == 402 and token_id("llada", "<|eot_id|>") == 405
    message = refusal(edit_config(folder, **changes))
    assert str(folder / "config.json") in message and named in message


@pytest.mark.parametrize("configured", [8, 403])
def test_a_config_and_a_tokenizer_with_different_masks_are_refused(folder, family, configured):
    """LLaDA's tokenizer declares no mask and has an added one; Dream's declares one."""
    own = {"llada": "<|mdm_mask|>", "dream": "<|mask|>"}[family]
    edit_config(folder, mask_token_id=configured)
    message = refusal(folder)
    assert f"{folder / 'config.json'}: mask_token_id must be the tokenizer's mask, got {configured} here" in message
    assert f"{token_id(family, own)} ({own})" in message and "mask_token_id=<id>" in message
    assert load_backbone(str(folder), device="cpu", mask_token_id=configured).mask_token_id == configured


@pytest.mark.parametrize(("given", "named"), [(401, "end-of-text"), (9999, "9999"), (-5, "-5")])
@pytest.mark.parametrize("family", ["llada"])
def test_a_mask_given_by_the_user_is_checked_like_any_other(folder, given, named):
    message = refusal(folder, mask_token_id=given)
    assert message.startswith("mask_token_id must") and named in message


def test_a_checkpoint_without_a_mask_asks_for_one(tmp_path, family):
    folder = edit_config(make_checkpoint(tmp_path, family, tokenizer=False), mask_token_id=...)
    assert "give mask_token_id=<id>" in refusal(folder)
    assert load_backbone(str(folder), device="cpu", mask_token_id=300).mask_token_id == 300


@pytest.mark.parametrize("eos", [None, ...])
def test_a_checkpoint_without_an_end_of_text_is_refused(tmp_path, family, eos):
    folder = edit_config(make_checkpoint(tmp_path, family, tokenizer=False), eos_token_id=eos)
    assert "eos_token_id must be known" in refusal(folder)


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path, family):
    num_tokens = NUM_ORDINARY_TOKENS + len(special_tokens(family))
    load_backbone(str(make_checkpoint(tmp_path / "as_large", family, vocab=num_tokens)), device="cpu")
    folder = make_checkpoint(tmp_path / "too_small", family, vocab=num_tokens - 1)
    edit_config(folder, mask_token_id=1)
    assert f"below the {num_tokens - 1} rows of the embedding, got {num_tokens - 1}" in refusal(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("family", ["llada"])
def test_a_damaged_tokenizer_is_named(folder, name):
    (folder / name).write_text("{")
    assert f"{folder}: the tokenizer files" in refusal(folder)


@pytest.mark.parametrize(("family", "name"), [("llada", "tokenizer.json"), ("dream", "vocab.json")])
def test_tokenizer_files_without_a_vocabulary_are_refused(folder, name):
    (folder / name).unlink()
    assert f"{folder}: the tokenizer" in refusal(folder)


def test_no_bad_checkpoint_leaves_anything_behind(folder):
    edit_config(folder, rope_scaling={"type": "linear"})
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    refusal(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_weights_are_not_read_when_the_config_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"")
    config = json.loads((folder / "config.json").read_text())
    edit_config(folder, rope_theta=-config["rope_theta"])
    assert "rope_theta" in refusal(folder)
