"""Which family a config.json is taken for, and which grid a block-causal checkpoint has."""

import json
import logging
import re

import pytest

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.checkpoints.families.known import FAMILIES as KNOWN, family_of
from lm_eval_mdlm.checkpoints.raw_config import RawConfig
from lm_eval_mdlm.checkpoints.visibility import block_in_name, grid_block_of
from lm_eval_mdlm.running.known import identity_of
from tests.checkpoints.plain import edit_config
from tests.checkpoints.test_refusals import refusal
from tests.test_layering import ROOT
from tests.tiny import make_checkpoint


README = (ROOT / "README.md").read_text()

TABLE = [
    ({"model_type": "llada", "architectures": ["LLaDAModelLM"], "d_model": 64}, "LLaDA"),
    ({"model_type": "llada", "d_model": 64}, "LLaDA"),
    ({"model_type": "llada", "architectures": ["LLaDAMoEModelLM"], "hidden_size": 64, "num_experts": 8}, "LLaDA-MoE"),
    ({"model_type": "llada2_moe", "architectures": ["LLaDA2MoeModelLM"]}, "LLaDA2"),
    ({"model_type": "llada2_moe_veomni"}, "LLaDA2"),
    ({"model_type": "llada21_moe"}, "LLaDA2"),
    ({"model_type": "sdar", "architectures": ["SDARForCausalLM"]}, "SDAR"),
    ({"model_type": "sdar_moe", "architectures": ["SDARMoeForCausalLM"]}, "SDAR"),
    ({"model_type": "Dream", "architectures": ["DreamModel"]}, "Dream"),
    ({"model_type": "llama", "architectures": ["StableDiffcoderForCausalLM"]}, "Stable-DiffCoder"),
]
REFUSED = [
    ({"model_type": "llada", "architectures": ["LLaDAModelLM"], "hidden_size": 64, "vocab_size": 155136}, "iLLaDA"),
    ({"model_type": "Dream", "architectures": ["DreamForCausalLM"]}, "DreamReasoner"),
    ({"model_type": "Fast_dLLM_Qwen", "architectures": ["Fast_dLLM_QwenForCausalLM"]}, "Fast-dLLM v2"),
    ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "bd_size": 32}, "Fast-dLLM v2"),
    ({"model_type": "diffusion_gemma"}, "DiffusionGemma"),
]


def raw_config(tmp_path, **values):
    (tmp_path / "config.json").write_text(json.dumps(values))
    return RawConfig.read(tmp_path)


@pytest.mark.parametrize(("config", "name"), TABLE, ids=[f"{i}-{name}" for i, (_, name) in enumerate(TABLE)])
def test_every_row_of_the_table_is_recognised_by_one_family_alone(tmp_path, config, name):
    raw = raw_config(tmp_path, **config)
    assert [family.name for family in KNOWN if family.matches(raw)] == [name] == [family_of(raw).name]


@pytest.mark.parametrize(("config", "name"), REFUSED, ids=[f"{i}-{name}" for i, (_, name) in enumerate(REFUSED)])
def test_known_families_that_are_not_supported_are_refused_with_the_reason(tmp_path, config, name):
    raw = raw_config(tmp_path, **config)
    with pytest.raises(UsageError, match=rf"{name} is not supported: .*family=NAME") as refused:
        family_of(raw)
    assert "\n" not in str(refused.value)


def test_a_checkpoint_that_only_its_own_code_can_run_is_refused_with_that(tmp_path):
    raw = raw_config(tmp_path, model_type="mine", auto_map={"AutoModel": "modeling_mine.Mine"})
    with pytest.raises(UsageError, match="code of its own, auto_map, which is never run"):
        family_of(raw)


def test_the_option_overrides_what_a_config_looks_like(tmp_path):
    folder = edit_config(make_checkpoint(tmp_path, "dream"), architectures=["DreamForCausalLM"])
    assert "DreamReasoner" in refusal(folder)
    backbone = load_backbone(str(folder), device="cpu", family="dream")
    assert (backbone.family, backbone.lookback, backbone.description["family"]) == ("Dream", 1, "Dream")
    assert "must be one of llada, llada_moe, llada2, sdar, dream, stable_diffcoder" in refusal(folder, family="Dream")
    assert 'block_type must be "llama" for this family' in refusal(folder, family="llada")


def test_the_table_of_the_documentation_has_every_family():
    rows = re.findall(r"^\| `(\w+)` \| .*[^|]\|$", (ROOT / "docs" / "families.md").read_text(), flags=re.MULTILINE)
    assert rows[1 : len(KNOWN) + 1] == [family.key for family in KNOWN]  # below the head
    assert {family.key for family in KNOWN} <= {row for row in re.findall(r"`(\w+)`", README.split("## Families")[1])}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("JetLM/SDAR-8B-Chat-b32", 32),
        ("JetLM/SDAR-30B-A3B-Chat-b64", 64),
        ("/models/SDAR-1.7B-Chat-b4-math", 4),
        ("/cache/models--JetLM--SDAR-8B-Chat-B16/snapshots/0123456789abcdef", 16),
        ("Gen-Verse/TraDo-8B-Instruct", None),
        ("JetLM/SDAR-8B-Chat", None),
        ("/runs-b8/checkpoint", None),
        ("owner/model-b4-b8", None),
        ("b0", None),
    ],
)
def test_the_block_size_is_read_from_published_names(name, size):
    assert block_in_name(name) == size


SDAR, LLADA2, DREAM = (next(family for family in KNOWN if family.name == name) for name in ("SDAR", "LLaDA2", "Dream"))


@pytest.mark.parametrize(
    ("family", "config", "name", "given", "size", "lines"),
    [
        (SDAR, {}, "SDAR-8B", 8, 8, 0),
        (SDAR, {"block_size": 16}, "SDAR-8B", None, 16, 0),
        (SDAR, {}, "SDAR-8B-b32", None, 32, 1),
        (SDAR, {"block_size": 32}, "SDAR-8B-b32", 32, 32, 0),
        (LLADA2, {}, "LLaDA2.0-mini", None, 32, 0),
        (LLADA2, {"block_size": 64}, "LLaDA2.0-mini", None, 64, 0),
        (LLADA2, {}, "LLaDA2.0-mini", 8, 8, 1),
        (DREAM, {}, "Dream-b32", None, None, 0),
    ],
)
def test_the_grid_is_the_options_the_configs_the_familys_or_the_names(
    tmp_path, caplog, family, config, name, given, size, lines
):
    with caplog.at_level(logging.WARNING):
        assert grid_block_of(family, raw_config(tmp_path, **config), name, given) == size
    assert len(caplog.records) == lines


@pytest.mark.parametrize(
    ("family", "config", "name", "given", "told"),
    [
        (SDAR, {}, "SDAR-8B", None, "grid_block must be known"),
        (SDAR, {}, "SDAR-8B-b32", 4, "got 4 by grid_block, 32 by the name"),
        (SDAR, {"block_size": 16}, "SDAR-8B", 4, "got 4 by grid_block, 16 by block_size of"),
        (SDAR, {"block_size": 16}, "SDAR-b8", None, "16 by block_size of .*, 8 by the name"),
        (SDAR, {"block_size": "16"}, "SDAR", None, "block_size must be a positive whole number"),
        (LLADA2, {}, "LLaDA2-b16", None, "grid_block is 32 in LLaDA2 checkpoints, and the name 'LLaDA2-b16' says 16"),
        (DREAM, {}, "Dream", 32, "Dream sees the whole canvas at once"),
    ],
)
def test_a_grid_that_is_unknown_or_contradicted_is_refused(tmp_path, family, config, name, given, told):
    with pytest.raises(UsageError, match=told) as refused:
        grid_block_of(family, raw_config(tmp_path, **config), name, given)
    assert "\n" not in str(refused.value)


def test_the_grid_is_checked_before_weights_are_read_and_is_part_of_what_results_depend_on(tmp_path):
    folder = make_checkpoint(tmp_path / "SDAR-b4", "sdar")
    first, second = (load_backbone(str(folder), device="cpu", grid_block=given) for given in (None, 4))
    renamed = folder.rename(tmp_path / "SDAR")
    other = load_backbone(str(renamed), device="cpu", grid_block=8)
    assert (first.grid_block, second.grid_block, other.grid_block) == (4, 4, 8)
    assert first.description["grid_block"] == 4
    assert identity_of(first) == identity_of(second) != identity_of(other)
    (renamed / "model.safetensors").write_bytes(b"")
    assert "grid_block must be known" in refusal(renamed)


@pytest.mark.parametrize(("family", "mask", "end"), [("llada2", 156895, 156892), ("llada_moe", 156895, None)])
def test_a_mask_or_an_end_that_nothing_names_is_that_of_the_published_checkpoints_with_a_line(
    tmp_path, caplog, family, mask, end
):
    folder = make_checkpoint(tmp_path, family, vocab=156900, hidden=16, heads=2, tokenizer=False)
    with caplog.at_level(logging.WARNING):
        backbone = load_backbone(str(folder), device="cpu")
    lines = [record.getMessage() for record in caplog.records]
    assert backbone.mask_token_id == mask
    assert any(f"names mask_token_id; it is {mask}, as in the published" in line for line in lines)
    if end is not None:
        assert backbone.end_token_ids == (end,)
        assert any(f"names eos_token_id; it is {end}" in line for line in lines)


def test_a_tokenizer_says_which_token_is_the_mask_and_which_ones_end_a_text(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        llada2 = load_backbone(str(make_checkpoint(tmp_path / "a", "llada2")), device="cpu")
        sdar = load_backbone(str(make_checkpoint(tmp_path / "b", "sdar")), device="cpu", grid_block=4)
        stable = load_backbone(str(make_checkpoint(tmp_path / "c", "stable_diffcoder")), device="cpu")
    assert not caplog.records
    assert (llada2.mask_token_id, llada2.end_token_ids) == (404, (401, 407))
    assert (sdar.mask_token_id, sdar.end_token_ids) == (405, (400, 402))
    assert (stable.mask_token_id, stable.end_token_ids, stable.grid_block) == (403, (402,), 4)
