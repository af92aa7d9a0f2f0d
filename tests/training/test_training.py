import json
import shutil

import pytest
import torch

from lm_eval_mdlm.checkpoints.load import load_backbone
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training.config import from_arguments, parser
from lm_eval_mdlm.training.run import train
from tests.tiny import make_checkpoint
from tests.training.running import assert_equal_weights, options, weights


@pytest.mark.parametrize("rank", [0, 2], ids=["full", "lora"])
def test_fine_tuned_checkpoint_loads_and_differs_from_its_start_in_what_was_trained(tmp_path, data, family, rank):
    start = make_checkpoint(tmp_path / "start", family)
    train(options(data, tmp_path / "out", start, lora_rank=rank))
    before, after = weights(start), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    norms = {name for name in before if "norm" in name or "ln_f" in name}
    assert any("q_proj.weight" in name for name in changed)
    assert bool(norms & changed) is (rank == 0)  # adapters leave the norms alone
    backbone = load_backbone(str(tmp_path / "out"), device="cpu")
    assert torch.isfinite(backbone.logits([torch.arange(9)])[0]).all()


def test_saved_weights_mean_in_a_backbone_what_they_meant_in_training(tmp_path, data, family):
    # A learning rate of zero must give back the network it started from, through every renaming.
    start = make_checkpoint(tmp_path / "start", family)
    train(options(data, tmp_path / "out", start, learning_rate=0.0, average_decay=0.0, steps=1))
    canvas = torch.arange(20)
    before, after = (load_backbone(str(tmp_path / name), device="cpu").logits([canvas])[0] for name in ("start", "out"))
    torch.testing.assert_close(before, after, rtol=0, atol=0)


def test_run_killed_half_way_and_resumed_ends_where_an_uninterrupted_one_does(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "whole", start))
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "checkpoint-4")
    (tmp_path / "killed" / "model.safetensors").unlink()
    train(options(data, tmp_path / "killed", start, resume=True))
    assert_equal_weights(tmp_path / "whole", tmp_path / "killed")


def test_rows_per_pass_and_loader_processes_do_not_change_what_is_learnt(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "whole", start))
    train(options(data, tmp_path / "halves", start, device_batch_size=2))
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    # Adam divides by the size of a gradient, so that rounding in tiny ones shows.
    assert max((one[name] - other[name]).abs().max() for name in one) < 2e-3


def test_training_from_scratch_lowers_the_loss_and_repeats(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    (start / "model.safetensors").unlink()
    config = {"pretrained": None, "from_scratch": str(start), "steps": 40, "save_every": 0, "validation": str(data)}
    first = train(options(data, tmp_path / "a", None, **config, evaluate_every=40))
    again = train(options(data, tmp_path / "b", None, **config, evaluate_every=40))
    history = json.loads((tmp_path / "a" / "losses.json").read_text())
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])
    assert first["eval_loss"] == again["eval_loss"]
    assert_equal_weights(tmp_path / "a", tmp_path / "b")


def test_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, data):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        train(options(data, out, make_checkpoint(tmp_path / "start")))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 4: not valid JSON"),
        ("[1]", "line 4: expected an object"),
        ('{"prompt": "a"}', r"line 4: .*got the keys \['prompt'\]"),
        ('{"prompt": "a", "response": 3}', "line 4: 'response' must be a string, got 3"),
        ('{"prompt": "a", "response": " "}', "line 4: 'response' is empty"),
        ('{"prompt": "a", "solution": "b", "answer": "12345678"}', "line 4: the answer '12345678' has .* tokens"),
        (json.dumps({"prompt": "a " * 600, "response": "b"}), "line 4: .*do not fit the model's context of 512"),
    ],
)
def test_malformed_line_is_named_and_nothing_is_written(tmp_path, data, line, message):
    data.write_text(data.read_text() + line + "\n")
    with pytest.raises(UsageError, match=message):
        train(options(data, tmp_path / "out", make_checkpoint(tmp_path / "start")))
    assert not (tmp_path / "out").exists()


def test_empty_training_file_is_refused(tmp_path, data):
    data.write_text("\n")
    with pytest.raises(UsageError, match="holds no example"):
        train(options(data, tmp_path / "out", make_checkpoint(tmp_path / "start")))


def test_checkpoint_without_a_mask_token_is_refused(tmp_path, data):
    start = make_checkpoint(tmp_path / "start", config={"mask_token_id": None})
    text = (start / "tokenizer.json").read_text().replace("<|mdm_mask|>", "<|no_name|>")
    (start / "tokenizer.json").write_text(text)
    with pytest.raises(UsageError, match="mask_token_id must be known"):
        train(options(data, tmp_path / "out", start))


def test_resuming_with_another_option_is_refused(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "out", start, steps=2))
    with pytest.raises(UsageError, match=r"--seed is 1, the run in .* had 0"):
        train(options(data, tmp_path / "out", start, steps=2, seed=1, resume=True))


def test_help_explains_every_option():
    text = parser().format_help()
    for action in parser()._actions:
        assert action.help
        assert action.option_strings[0] in text


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--free-share", "2"], []])
def test_option_out_of_range_is_refused(arguments):
    with pytest.raises(UsageError):
        from_arguments(["--data", "d", "--out", "o", *(["--pretrained", "p"] if arguments else []), *arguments])
