"""Weights that must not be loaded: stored twice, tied to what they differ from, or no numbers."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.checkpoints import weights as weights_module
from tests.checkpoints.test_refusals import refusal
from tests.tiny import NAMES, make_checkpoint, write_weights


@pytest.fixture
def folder(checkpoints, family, tmp_path):
    return Path(shutil.copytree(checkpoints[family], tmp_path / "checkpoint"))


def test_a_weight_in_two_files_is_refused_with_both(tmp_path, family):
    folder = make_checkpoint(tmp_path, family, sharded=True, tokenizer=False)
    first, second = (folder / f"model-0000{i}-of-00003.safetensors" for i in (1, 2))
    name, weight = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: weight + 1}, second)
    message = refusal(folder)
    assert f"got {name} in {first.name} and {name} in {second.name}" in message and "once" in message


@pytest.mark.parametrize("family", ["llada"])
@pytest.mark.parametrize(
    ("hub", "native"),
    [
        ("model.transformer.ln_f.weight", "model.norm.weight"),
        ("model.transformer.blocks.1.ff_out.weight", "model.layers.1.mlp.down_proj.weight"),
    ],
)
def test_a_weight_under_both_of_its_names_is_refused_with_both(folder, hub, native):
    file = folder / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {native: weights[hub] * 2}, file)
    message = refusal(folder)
    assert hub in message and native in message and file.name in message


def tied_with_a_head(tmp_path, family: str, change=lambda head: head, **more) -> Path:
    folder = make_checkpoint(tmp_path / "tied", family, tied=True, tokenizer=False, **more)
    weights = {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}
    weights[NAMES[family]["head"]] = change(weights[NAMES[family]["embed"]].clone())
    write_weights(folder, weights, sharded=more.get("sharded", False))
    return folder


@pytest.mark.parametrize("sharded", [True, False])
def test_a_tied_checkpoint_may_store_its_head_again(tmp_path, family, sharded, monkeypatch):
    monkeypatch.setattr(weights_module, "ROWS_AT_ONCE", 100)
    plain = load_backbone(str(make_checkpoint(tmp_path / "plain", family, tied=True, tokenizer=False)), device="cpu")
    again = load_backbone(str(tied_with_a_head(tmp_path, family, sharded=sharded)), device="cpu")
    ids = [torch.arange(3, 40)]
    assert torch.equal(again.logits(ids)[0], plain.logits(ids)[0])
    narrow = tied_with_a_head(tmp_path / "narrow", family, lambda head: head.double())
    assert torch.equal(load_backbone(str(narrow), device="cpu").logits(ids)[0], plain.logits(ids)[0])


@pytest.mark.parametrize("row", [0, 99, 100, 511])
def test_a_tied_checkpoint_with_another_head_is_refused(tmp_path, family, row, monkeypatch):
    monkeypatch.setattr(weights_module, "ROWS_AT_ONCE", 100)

    def changed(head):
        head[row, 5] += 1e-3
        return head

    folder = tied_with_a_head(tmp_path, family, changed)
    message = refusal(folder)
    assert NAMES[family]["head"] in message and NAMES[family]["embed"] in message and "ties" in message


def test_a_tied_head_of_another_shape_is_refused(tmp_path, family):
    folder = tied_with_a_head(tmp_path, family, lambda head: head[:-1].clone())
    assert f"1 mismatched ({NAMES[family]['head']} [511, 64] instead of [512, 64])" in refusal(folder)


BROKEN = ("embed", "norm", "head", "input_norm", "q", "down")


@pytest.mark.parametrize("part", BROKEN)
@pytest.mark.parametrize(("value", "told"), [(torch.nan, "NaN"), (torch.inf, "infinite"), (-torch.inf, "infinite")])
def test_weights_that_are_no_numbers_are_named(folder, family, part, value, told):
    file, names = folder / "model.safetensors", NAMES[family]
    weights = load_file(file)
    layer = "" if part in ("embed", "norm", "head") else f"{names['layers']}1."
    name = names[part] if not layer else f"{layer}{names[part]}.weight"
    weights[name].view(-1)[-1] = value
    save_file(weights, file)
    message = refusal(folder)
    assert message.startswith(
        f"{file}: {name} must hold finite numbers, got 1 of {weights[name].numel()} that are {told}"
    )


@pytest.mark.parametrize("family", ["llada"])
def test_weights_too_large_for_the_dtype_ask_for_another_and_large_sums_are_no_fault(folder):
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["model.transformer.ff_out.weight"][0] = 1e5
    save_file(weights, file)
    message = refusal(folder, dtype="float16")
    assert "64 of 32768 that are infinite as float16; use dtype=bfloat16" in message
    weights["model.transformer.ff_out.weight"][0] = 3e38  # each is finite, their sum is not
    save_file(weights, file)
    load_backbone(str(folder), device="cpu")
