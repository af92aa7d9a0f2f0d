"""A saved checkpoint says the truth about itself, and holds nothing of anybody else's."""

import json

import pytest
import torch

from lm_eval_mdlm.checkpoints.load import load_backbone
from lm_eval_mdlm.training.networks import Source
from lm_eval_mdlm.training.run import train
from lm_eval_mdlm.training.saving import save_checkpoint
from tests.tiny import make_checkpoint
from tests.training.running import options, weights


CANVAS = torch.arange(20)


def logits(folder):
    return load_backbone(str(folder), device="cpu").logits([CANVAS])[0]


@pytest.mark.parametrize("rank", [0, 2], ids=["full", "lora"])
def test_tied_weights_are_trained_checkpointed_and_saved_as_one(tmp_path, data, family, rank):
    start = make_checkpoint(tmp_path / "start", family, tied=True)
    train(options(data, tmp_path / "out", start, lora_rank=rank))
    assert weights(tmp_path / "out").keys() == weights(start).keys()
    assert torch.isfinite(logits(tmp_path / "out")).all()
    assert not torch.equal(logits(tmp_path / "out"), logits(start))


def test_own_output_can_be_fine_tuned_again_and_its_records_stay_behind(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "first", start, seed=1))
    (tmp_path / "first" / "results.json").write_text("{}")
    train(options(data, tmp_path / "second", tmp_path / "first", seed=2, steps=2))
    assert json.loads((tmp_path / "second" / "training.json").read_text())["seed"] == 2
    assert len(json.loads((tmp_path / "second" / "losses.json").read_text())) < 4
    assert not (tmp_path / "second" / "results.json").exists()
    train(options(data, tmp_path / "second", tmp_path / "first", seed=2, steps=2, resume=True))


def saved(tmp_path, folder, source=None):
    trained = (source or Source.open(str(folder))).load(torch.float32)
    save_checkpoint(trained, tmp_path / "out", dtype=torch.float32)
    return [json.loads((tmp_path / "out" / name).read_text()) for name in ("config.json", "tokenizer_config.json")]


def test_references_to_code_that_is_not_there_are_dropped(tmp_path):
    start = make_checkpoint(tmp_path / "start", "dream")
    assert "auto_map" in json.loads((start / "config.json").read_text())
    assert all("auto_map" not in values for values in saved(tmp_path, start))
    assert torch.equal(logits(tmp_path / "out"), logits(start))


def test_code_that_a_checkpoint_brings_goes_with_its_references(tmp_path):
    start = make_checkpoint(tmp_path / "start", "dream")
    for module in ("configuration_dream", "modeling_dream", "generation_utils"):
        (start / f"{module}.py").write_text(f"raise SystemExit('{module} must not run')\n")
    config, tokenizer = saved(tmp_path, start)
    assert config["auto_map"] == json.loads((start / "config.json").read_text())["auto_map"]
    assert "auto_map" not in tokenizer  # its own module is not there
    assert (tmp_path / "out" / "generation_utils.py").read_text().startswith("raise")


def test_code_of_a_hub_repository_is_referred_to_there(tmp_path):
    start = make_checkpoint(tmp_path / "start", "dream")
    source = Source.open(str(start))
    object.__setattr__(source.checkpoint, "on_hub", True)
    object.__setattr__(source.checkpoint, "pretrained", "owner/name")
    source.checkpoint.fetch_weights()  # they are there
    config, tokenizer = saved(tmp_path, start, source)
    assert config["auto_map"]["AutoModel"] == "owner/name--modeling_dream.DreamModel"
    assert tokenizer["auto_map"]["AutoTokenizer"] == ["owner/name--tokenization_dream.DreamTokenizer", None]


@pytest.mark.parametrize("reference", [3, None, [], {"a": 1}])
def test_references_of_no_use_do_no_harm(tmp_path, reference):
    start = make_checkpoint(tmp_path / "start", config={"auto_map": {"AutoModel": reference}})
    assert "auto_map" not in saved(tmp_path, start)[0]


def test_config_names_the_dtype_of_the_saved_weights(tmp_path):
    start = make_checkpoint(tmp_path / "start", "dream")  # its config.json says bfloat16
    config, _ = saved(tmp_path, start)
    assert config["torch_dtype"] == "float32"
    assert {weight.dtype for weight in weights(tmp_path / "out").values()} == {torch.float32}


def test_shards_of_an_earlier_save_do_not_stay_beside_new_weights(tmp_path):
    out = make_checkpoint(tmp_path / "out", sharded=True)
    start = make_checkpoint(tmp_path / "start", seed=1)
    saved(tmp_path, start)
    assert [path.name for path in out.glob("model*")] == ["model.safetensors"]
    assert torch.equal(logits(out), logits(start))


def test_packaged_checkpoint_is_fine_tuned_by_its_name(tmp_path, data):
    template = '[{"reasoning": 12}, {"text": "\\nThe answer is "}, {"answer": 4}]'
    train(options(data, tmp_path / "out", None, pretrained="demo", template=template, steps=1, save_every=0))
    assert torch.isfinite(logits(tmp_path / "out")).all()
