"""The translated networks against the plain ones: every variant of the configs that is mapped."""

import pytest
import torch

from lm_eval_mdlm import load_backbone
from tests.checkpoints.plain import edit_config, plain_logits
from tests.tiny import make_checkpoint, random_ids


ATOL = 1e-3  # float32 against float64; logits of another network differ by whole units
VARIANTS = {
    "llada": ("llada", {}),
    "llada with fewer key heads": ("llada", {"kv_heads": 2}),
    "llada with one key head": ("llada", {"kv_heads": 1}),
    "llada with tied embeddings": ("llada", {"tied": True}),
    "llada with biases": ("llada", {"qkv_bias": True, "kv_heads": 2}),
    "llada in shards": ("llada", {"sharded": True, "layers": 3}),
    "dream": ("dream", {}),
    "dream with tied embeddings": ("dream", {"tied": True}),
    "dream in shards": ("dream", {"sharded": True, "kv_heads": 4}),
}


@pytest.mark.parametrize(("family", "options"), VARIANTS.values(), ids=VARIANTS)
def test_logits_are_those_of_the_network_written_out_by_hand(tmp_path, family, options):
    folder = make_checkpoint(tmp_path, family, tokenizer=False, head_scale=1.0, **options)
    sequences = [random_ids(length) for length in (23, 1, 70)]
    for ids, logits in zip(sequences, load_backbone(str(folder), device="cpu").logits(sequences), strict=True):
        torch.testing.assert_close(logits.double(), plain_logits(folder, family, ids), atol=ATOL, rtol=0)


def test_implied_sizes_are_those_that_the_published_code_implies(tmp_path):
    folder = make_checkpoint(tmp_path, tokenizer=False, kv_heads=1, ffn=256, head_scale=1.0)
    ids = random_ids(20)
    expected = plain_logits(folder, "llada", ids)
    edit_config(folder, n_kv_heads=None, multi_query_attention=True, mlp_hidden_size=None)
    edit_config(folder, embedding_size=None, vocab_size=512, rope_full_precision=...)
    logits = load_backbone(str(folder), device="cpu").logits([ids])[0]
    torch.testing.assert_close(logits.double(), expected, atol=ATOL, rtol=0)


@pytest.mark.parametrize(
    ("family", "configured", "longest"),
    [
        ("dream", 131072, 2048),
        ("dream", 1024, 1024),
        ("llada", 4096, 4096),
        ("llada", 131072, 131072),
    ],
)
def test_the_longest_canvas_is_the_documented_one_where_the_config_has_another_networks(
    tmp_path, family, configured, longest
):
    folder = make_checkpoint(tmp_path, family, tokenizer=False, max_length=configured)
    assert load_backbone(str(folder), device="cpu").max_length == longest


def test_options_without_meaning_for_the_logits_are_let_through(tmp_path):
    folder = make_checkpoint(tmp_path, tokenizer=False)
    edit_config(folder, dtype="bfloat16", use_cache=True, init_std=1.0, some_new_switch=False, another=None)
    load_backbone(str(folder), device="cpu")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", torch.bfloat16])
def test_narrow_weights_give_nearly_the_logits_of_wide_ones(checkpoints, backbones, family, dtype):
    narrow = load_backbone(str(checkpoints[family]), device="cpu", dtype=dtype)
    ids = random_ids(40)
    wide, logits = backbones[family].logits([ids])[0], narrow.logits([ids])[0]
    assert logits.dtype == narrow.dtype != torch.float32
    assert 0 < (logits.float() - wide).abs().mean() < 0.1 * wide.std()


def test_rotation_in_float32_is_used_where_the_config_asks_for_it_or_is_silent(tmp_path):
    ids = random_ids(40)
    logits = {}
    for asked in (True, False, ...):
        folder = edit_config(make_checkpoint(tmp_path / str(asked)), rope_full_precision=asked)
        logits[asked] = load_backbone(str(folder), device="cpu", dtype="bfloat16").logits([ids])[0]
    assert torch.equal(logits[True], logits[...])
    assert not torch.equal(logits[True], logits[False])


def test_special_ids_and_sizes_are_those_of_the_config(backbones):
    llada, dream = backbones["llada"], backbones["dream"]
    assert (llada.vocab_size, llada.max_length, llada.family) == (512, 512, "LLaDA")
    assert (dream.vocab_size, dream.max_length, dream.family) == (512, 512, "Dream")
    assert llada.description["num_parameters"] == 2 * 512 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 96 + 2 * 64) + 64
    assert llada.description["attention"] == "mdlm_packed_sdpa"
    assert llada.description["commit_hash"] is None
