"""Quantised checkpoints: as transformers and the method's library load them, or one line before weights are read.

What needs a library runs where that is installed (`pip install 'lm-eval-mdlm[quantised]'`), and then by pytest with
`-W ignore`, as torchao warns while it is imported.
"""

import json
import logging

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.checkpoints import quantised
from lm_eval_mdlm.running.known import identity_of
from lm_eval_mdlm.training.networks import Source
from tests.checkpoints.plain import edit_config
from tests.checkpoints.test_refusals import refusal
from tests.tiny import make_checkpoint, random_ids


BY_BITSANDBYTES = {"quant_method": "bitsandbytes", "load_in_8bit": True}


def _options(method):
    if method == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        return transformers.TorchAoConfig(Int8WeightOnlyConfig())
    return transformers.BitsAndBytesConfig(**{"load_in_8bit" if method == "8 bits" else "load_in_4bit": True})


def _quantised(tmp_path, family, method):
    """A tiny checkpoint that transformers has quantised and saved, and the logits that it gives of some tokens."""
    plain = make_checkpoint(tmp_path / "plain", family, ffn=128)  # whole blocks of 64 numbers in every row
    made = Source.open(str(plain)).architecture
    network = made.network.from_pretrained(
        str(plain),
        config=made.config,
        key_mapping=dict(made.key_mapping),
        dtype=torch.float32,
        quantization_config=_options(method),
        device_map="cpu",
    )
    network._weight_conversions = []  # or the family's names would be written beside the native ones
    network.save_pretrained(tmp_path / "quantised")
    options = json.loads((tmp_path / "quantised" / "config.json").read_text())["quantization_config"]
    config = json.loads((plain / "config.json").read_text())
    (tmp_path / "quantised" / "config.json").write_text(json.dumps({**config, "quantization_config": options}))
    ids = random_ids(30)
    with torch.inference_mode():
        logits = network(ids[None], attention_mask=torch.zeros(1, 1, 30, 30)).logits[0]
    return tmp_path / "quantised", ids, logits


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("method", ["torchao", "8 bits", "4 bits"])
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_logits_are_those_of_transformers_and_the_method_is_recorded(tmp_path, family, method):
    library = "torchao" if method == "torchao" else "bitsandbytes"
    pytest.importorskip(library)
    folder, ids, expected = _quantised(tmp_path, family, method)
    stored = load_file(folder / "model.safetensors")
    assert any(weight.dtype in (torch.int8, torch.uint8) for weight in stored.values())
    backbone = load_backbone(str(folder), device="cpu", mask_token_id=9)
    logits = backbone.logits([ids])[0]
    if family == "dream":
        expected = torch.cat([expected[:1], expected[:-1]])
    # The library picks its products by the number of rows.
    torch.testing.assert_close(logits, expected, atol=0.02 * expected.abs().max().item(), rtol=0)
    assert (backbone.description["quantisation"], backbone.description["body"]) == (library, "layers of transformers")
    assert identity_of(backbone)["quantisation"] == library
    (folder / "model.safetensors").write_bytes(b"")
    assert "must be a whole safetensors file" in refusal(folder, mask_token_id=9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["torchao", "4 bits"])
def test_packed_weights_that_are_missing_or_left_over_are_named(tmp_path, method):
    pytest.importorskip("torchao" if method == "torchao" else "bitsandbytes")
    folder, _, _ = _quantised(tmp_path, "dream", method)
    weights = load_file(folder / "model.safetensors")
    layer = "model.layers.1.self_attn.k_proj"
    kept = {name: weight for name, weight in weights.items() if not name.startswith(layer) or name.endswith("bias")}
    save_file({**kept, "model.layers.7.stray._weight_scale": torch.ones(2)}, folder / "model.safetensors")
    message = refusal(folder)
    assert f"1 missing ({layer}.weight)" in message and "1 unexpected (model.layers.7.stray._weight_scale)" in message


@pytest.mark.parametrize("method", ["bitsandbytes", "torchao"])
def test_a_missing_library_is_named_before_weights_are_read(tmp_path, monkeypatch, method):
    monkeypatch.setattr(quantised, "LIBRARIES", {method: lambda: False})
    folder = edit_config(make_checkpoint(tmp_path, "dream"), quantization_config={"quant_method": method})
    (folder / "model.safetensors").unlink()
    assert f"quantised by {method}, which is not installed here or too old; pip install --upgrade {method}" in refusal(
        folder
    )


@pytest.fixture
def with_library(monkeypatch):
    monkeypatch.setattr(quantised, "LIBRARIES", {"bitsandbytes": lambda: True})


@pytest.mark.parametrize("options", [{"quant_method": "gptq"}, {"bits": 4}, "int8", {"quant_method": ["torchao"]}])
def test_another_method_is_refused_by_name(tmp_path, options, with_library):
    folder = edit_config(make_checkpoint(tmp_path), quantization_config=options)
    assert f"{folder / 'config.json'}: quantization_config must have a quant_method of bitsandbytes" in refusal(folder)


def test_networks_with_experts_adapters_and_training_are_refused_with_a_line(tmp_path, with_library):
    for family in ("llada_moe", "llada2"):
        folder = edit_config(make_checkpoint(tmp_path / family, family), quantization_config=BY_BITSANDBYTES)
        assert "whose experts are merged at load" in refusal(folder)
    folder = edit_config(make_checkpoint(tmp_path / "dense"), quantization_config=BY_BITSANDBYTES)
    (adapter := tmp_path / "adapter").mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    assert "cannot be added to weights that are quantised by bitsandbytes" in refusal(folder, peft=str(adapter))
    with pytest.raises(UsageError, match="neither trained nor merged"):
        Source.open(str(folder))


def test_a_plain_checkpoint_says_nothing_of_quantisation(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        backbone = load_backbone(str(make_checkpoint(tmp_path)), device="cpu")
    assert "quantisation" not in backbone.description and "quantisation" not in identity_of(backbone)
    assert not caplog.records
