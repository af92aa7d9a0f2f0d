"""Adapters: what they add to the disk, and how they come back."""

import json
import shutil
import sys

import pytest
import torch

from lm_eval_mdlm.checkpoints.load import load_backbone
from lm_eval_mdlm.commands.merge import main as merge
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training.networks import Source, with_adapter
from lm_eval_mdlm.training.run import train
from tests.tiny import make_checkpoint
from tests.training.running import assert_equal_weights, options


CANVAS = torch.arange(20)


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_checkpoints_of_adapters_hold_no_frozen_weight(tmp_path, data):
    start = make_checkpoint(tmp_path / "start", vocab=8192)  # 4 MiB of weights that are not trained
    train(options(data, tmp_path / "out", start, lora_rank=2, adapter_only=True))
    assert size(start) > 2**22
    for folder in (tmp_path / "out" / "checkpoints" / "checkpoint-4", tmp_path / "out" / "adapter"):
        assert size(folder) < 2**18
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_adapter_beside_its_base_is_the_network_that_was_trained(tmp_path, data, family):
    start = make_checkpoint(tmp_path / "start", family)
    train(options(data, tmp_path / "out", start, lora_rank=2))
    network = with_adapter(Source.open(str(start)).load(torch.float32), tmp_path / "out" / "adapter").network
    merged = load_backbone(str(tmp_path / "out"), device="cpu").logits([CANVAS])[0]
    mask = torch.ones(1, 1, 1, 20, dtype=torch.bool)
    with torch.no_grad():
        beside = network(input_ids=CANVAS[None], attention_mask=mask).logits[0]
    if family == "dream":
        merged, beside = merged[1:], beside[:-1]
    torch.testing.assert_close(beside, merged, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(merged, load_backbone(str(start), device="cpu").logits([CANVAS])[0][-len(merged) :])


def test_adapter_of_a_run_is_evaluated_without_merging_and_of_no_other_base(tmp_path, data, family):
    start, other = (make_checkpoint(tmp_path / name, family, seed=seed) for name, seed in (("start", 0), ("other", 1)))
    train(options(data, tmp_path / "out", start, lora_rank=2))
    moved = shutil.move(tmp_path / "out" / "adapter", tmp_path / "adapter")
    shutil.move(start, tmp_path / "moved")
    beside = load_backbone(str(tmp_path / "moved"), device="cpu", peft=str(moved)).logits([CANVAS])[0]
    assert torch.equal(beside, load_backbone(str(tmp_path / "out"), device="cpu").logits([CANVAS])[0])
    with pytest.raises(UsageError, match="is another checkpoint"):
        load_backbone(str(other), device="cpu", peft=str(moved))


def test_merge_command_gives_what_the_run_would_have_saved(tmp_path, data, capsys):
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "both", start, lora_rank=2))
    train(options(data, tmp_path / "alone", start, lora_rank=2, adapter_only=True))
    arguments = ["--pretrained", str(start), "--out", str(tmp_path / "merged"), "--dtype", "float32"]
    merge([*arguments, "--adapter", str(tmp_path / "alone" / "adapter")])
    assert_equal_weights(tmp_path / "both", tmp_path / "merged")
    assert "saved to" in capsys.readouterr().out
    with pytest.raises(UsageError, match="exists; name a new folder"):
        merge([*arguments, "--adapter", str(tmp_path / "alone" / "adapter")])


def test_adapter_of_another_network_and_a_folder_without_one_are_refused(tmp_path, data):
    start, larger = make_checkpoint(tmp_path / "start"), make_checkpoint(tmp_path / "larger", hidden=128)
    train(options(data, tmp_path / "out", start, lora_rank=2, adapter_only=True))
    arguments = ["--pretrained", str(larger), "--out", str(tmp_path / "merged")]
    with pytest.raises(UsageError, match="does not fit"):
        merge([*arguments, "--adapter", str(tmp_path / "out" / "adapter")])
    with pytest.raises(UsageError, match="must hold adapter_config.json"):
        merge([*arguments, "--adapter", str(tmp_path / "out")])
    assert not (tmp_path / "merged").exists()


def test_adapter_names_its_base(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "out", start, lora_rank=2, adapter_only=True))
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(start)
    assert (config["r"], config["lora_alpha"]) == (2, 16.0)


def test_frozen_weights_are_kept_in_the_precision_of_the_passes_and_adapters_in_float32(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    for precision, expected in (("bfloat16", "bfloat16"), ("float32", "float32")):
        config = options(data, tmp_path / "out", start, lora_rank=2, precision=precision)
        assert config.network_dtype == expected
    assert options(data, tmp_path / "out", start, precision="bfloat16").network_dtype == "float32"
    train(options(data, tmp_path / "out", start, lora_rank=2, precision="bfloat16", adapter_only=True))
    stored = torch.load(tmp_path / "out" / "checkpoints" / "checkpoint-4" / "optimizer.pt", weights_only=True)
    moments = [state["exp_avg"] for state in stored["state"].values()]
    assert moments and all(moment.dtype == torch.float32 for moment in moments)


def test_missing_package_is_named_before_anything_is_read(tmp_path, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match="pip install peft"):
        train(options(data, tmp_path / "out", tmp_path / "no checkpoint", lora_rank=2))
