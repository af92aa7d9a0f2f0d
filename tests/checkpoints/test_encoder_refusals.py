"""Encoders that must not be loaded, one line each, and what may stand beside one in its checkpoint."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, GPT2Config, T5Config

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.training.networks import Source
from tests.checkpoints.plain import edit_config
from tests.encoders import MASK, make_encoder, make_tokenizer


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("bert"), num_hidden_layers=1)


@pytest.fixture
def folder(bert, tmp_path):
    return Path(shutil.copytree(bert, tmp_path / "checkpoint"))


def refusal(folder, **options):
    with pytest.raises(UsageError) as caught:
        load_backbone(str(folder), device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


def without_weights(folder):
    """Nothing can have been read from it."""
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def weights_of(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_an_encoder_without_a_mask_token_is_refused_before_its_weights_are_read(folder):
    shutil.copytree(folder, folder.parent / "copy")
    make_tokenizer(mask_token=None).save_pretrained(folder)
    assert "mask_token_id must be known, got none" in refusal(without_weights(folder))
    make_tokenizer(mask_token=None).save_pretrained(folder.parent / "copy")
    assert load_backbone(str(folder.parent / "copy"), device="cpu", mask_token_id=MASK).mask_token_id == MASK


def test_an_encoder_without_a_tokenizer_is_refused_before_its_weights_are_read(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "must have a tokenizer, which says what stands around a text" in refusal(without_weights(folder))


@pytest.mark.parametrize(
    "config", [GPT2Config(), T5Config(), AutoConfig.for_model("llama")], ids=lambda c: c.model_type
)
def test_networks_that_are_no_masked_lms_are_refused_with_the_supported_families(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    message = refusal(tmp_path)
    assert f"no supported family has model_type '{config.model_type}'" in message
    assert "AutoModelForMaskedLM (BERT, RoBERTa, ModernBERT, ...)" in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "bart"}, "model_type must be an encoder without a decoder"),
        ({"model_type": "reformer"}, "model_type cannot be evaluated, since its attention depends on random hashes"),
        ({"model_type": "big_bird"}, 'attention_type must be "original_full"'),
        ({"is_decoder": True}, "is_decoder must be false"),
        ({"quantization_config": {"bits": 4}}, "quantization_config must be null"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_attention_heads": 5}, "number of attention heads (5)"),
        ({"hidden_act": "loud"}, "loud"),
        ({"max_position_embeddings": 20}, "max_position_embeddings must leave room for a text"),
        ({"mask_token_id": 77}, "mask_token_id must be the tokenizer's mask"),
    ],
)
def test_a_config_that_cannot_be_is_refused_before_weights_are_read(folder, changes, named):
    message = refusal(edit_config(without_weights(folder), **changes))
    assert str(folder / "config.json") in message or "BertForMaskedLM" in message
    assert named in message


def test_an_adapter_on_an_encoder_is_refused(folder, tmp_path):
    adapter = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query"], "bias": "none"}
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(adapter))
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    assert "is an encoder" in refusal(folder, peft=str(tmp_path / "adapter"))


def test_missing_unexpected_and_misshapen_weights_are_counted_and_named(folder):
    def change(weights):
        weights["bert.encoder.layer.7.output.dense.bias"] = torch.zeros(48)
        weights["cls.predictions.transform.dense.bias"] = torch.zeros(49)
        del weights["bert.embeddings.LayerNorm.bias"]

    message = refusal(weights_of(folder, change))
    assert "1 missing (bert.embeddings.LayerNorm.bias)" in message
    assert "1 unexpected (bert.encoder.layer.7.output.dense.bias)" in message
    assert "1 mismatched (" in message and "cls.predictions.transform.dense.bias" in message


def test_a_body_without_its_masked_lm_head_is_refused(folder):
    def change(weights):
        for name in [name for name in weights if name.startswith("cls.predictions.transform")]:
            del weights[name]

    assert "4 missing (cls.predictions.transform." in refusal(weights_of(folder, change))


def test_weights_that_are_cut_short_or_no_numbers_are_named(folder):
    weights_of(folder, lambda weights: weights["bert.embeddings.LayerNorm.bias"].fill_(torch.nan))
    message = refusal(folder)
    assert "bert.embeddings.LayerNorm.bias must hold finite numbers, got 48 of 48 that are NaN" in message
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    assert str(file) in refusal(folder)


def test_heads_and_tables_beside_the_masked_lm_head_are_named_in_a_line_and_change_nothing(folder, caplog):
    ids = [torch.arange(20)]
    before = load_backbone(str(folder), device="cpu").logits(ids)[0]

    def change(weights):
        weights["bert.pooler.dense.weight"] = torch.ones(48, 48)
        weights["cls.seq_relationship.weight"] = torch.ones(2, 48)
        weights["bert.embeddings.position_ids"] = torch.arange(140)[None]
        # Names of the first checkpoints.
        weights["bert.embeddings.LayerNorm.gamma"] = weights.pop("bert.embeddings.LayerNorm.weight")
        weights["bert.embeddings.LayerNorm.beta"] = weights.pop("bert.embeddings.LayerNorm.bias")

    caplog.set_level(logging.WARNING)
    after = load_backbone(str(weights_of(folder, change)), device="cpu").logits(ids)[0]
    assert torch.equal(before, after)
    (line,) = [r.getMessage() for r in caplog.records if "beside the masked-LM head" in r.getMessage()]
    assert not any("LOAD REPORT" in r.getMessage() for r in caplog.records)
    assert "2 stored weights" in line and "bert.pooler.dense" in line and "cls.seq_relationship" in line


def test_training_an_encoder_is_refused_in_one_line(folder):
    with pytest.raises(UsageError, match="is an encoder, and training is for decoders"):
        Source.open(str(folder))
