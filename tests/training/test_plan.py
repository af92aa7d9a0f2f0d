"""What a run says before and while it trains."""

import json
import re

import pytest
import torch
import transformers
from transformers.integrations import integration_utils

from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training import run
from lm_eval_mdlm.training.arguments import training_arguments
from lm_eval_mdlm.training.config import from_arguments
from lm_eval_mdlm.training.layout import layout_of
from lm_eval_mdlm.training.networks import Source
from lm_eval_mdlm.training.plan import ExampleSet
from lm_eval_mdlm.training.run import train
from lm_eval_mdlm.training.trainer import OneDeviceArguments
from tests.tiny import make_checkpoint
from tests.training.running import LINES, options, weights, write_lines


TOO_LONG = {"prompt": "a " * 600, "response": "b"}
WORDY = {"prompt": "Q:", "solution": "s", "answer": "12345678"}


def test_dry_run_says_what_would_be_trained_and_reads_and_writes_no_weights(tmp_path, capsys):
    start = make_checkpoint(tmp_path / "start")
    (start / "model.safetensors").unlink()
    data = write_lines(tmp_path / "data", [*LINES, TOO_LONG, WORDY, WORDY])
    losses = train(options(data, tmp_path / "out", start, dry_run=True, validation=str(data), device_batch_size=2))
    printed = capsys.readouterr().err
    assert losses == {} and not (tmp_path / "out").exists()
    # Counted by hand: 2 * 512 * 64 + 64 + 2 * (4 * 64 ** 2 + 3 * 64 * 96 + 2 * 64) weights.
    assert "all weights, 135,488 weights, by adamw at 0.01" in printed
    assert len(re.findall(r"^(?:training|validation): 3 examples, \d+ tokens", printed, flags=re.M)) == 2
    assert "1 of 6 do not fit: longer than the model's context of 512 tokens (line 4 first)" in printed
    assert "2 of 6 do not fit: answer longer than the template's 4 tokens (line 5 first)" in printed
    assert "steps: 4 of 4 rows, 5.3 times over the data; 2 rows per pass on each of 1 device(s)" in printed


def test_dry_run_of_adapters_counts_them_and_not_their_base(tmp_path, data, capsys):
    train(options(data, tmp_path / "out", make_checkpoint(tmp_path / "start"), dry_run=True, lora_rank=4))
    # Per layer 4 * (64 + 64) * 4 of attention and 3 * (64 + 96) * 4 of the feed-forward part.
    assert "LoRA adapters of rank 4, 7,936 weights" in capsys.readouterr().err


def test_examples_that_do_not_fit_are_refused_with_every_reason_and_skipped_on_demand(tmp_path, capsys):
    start = make_checkpoint(tmp_path / "start")
    data = write_lines(tmp_path / "data", [*LINES, TOO_LONG, WORDY, WORDY])
    with pytest.raises(UsageError, match=r"3 of 6 examples do not fit: .*line 4: .*line 5: .*--skip-unfit"):
        train(options(data, tmp_path / "out", start))
    assert not (tmp_path / "out").exists()
    train(options(data, tmp_path / "out", start, skip_unfit=True, steps=1, save_every=0))
    with pytest.raises(UsageError, match="none of 2 examples fits: line 1"):
        train(options(write_lines(tmp_path / "none", [WORDY, TOO_LONG]), tmp_path / "new", start, skip_unfit=True))


def test_progress_names_step_loss_rate_and_time_left(tmp_path, data, capsys):
    train(options(data, tmp_path / "out", make_checkpoint(tmp_path / "start"), validation=str(data)))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    training = [line for line in lines if "validation" not in line]
    assert [line.split(":")[0] for line in training] == [f"step {n} of 4" for n in range(1, 5)]
    for line in training:
        assert re.search(r"loss \d+\.\d{4}, gradient norm \S+, rate \S+, \S+ s per step, \d+:\d\d:\d\d left$", line)
    assert re.search(r"validation loss \d+\.\d{4} ± \d+\.\d{4}$", lines[-1])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_run_shorter_than_its_log_interval_still_ends_with_a_loss(tmp_path, data, steps):
    start = make_checkpoint(tmp_path / "start")
    losses = train(options(data, tmp_path / "out", start, steps=steps, log_every=50))
    assert 0 < losses["train_loss"] < 100


def test_loss_before_the_first_step_is_that_of_the_start(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    common = {"validation": str(data), "average_decay": 0.0, "save_every": 0}
    still = train(options(data, tmp_path / "still", start, **common, learning_rate=0.0, steps=1))
    train(options(data, tmp_path / "out", start, **common, evaluate_at_start=True))
    history = json.loads((tmp_path / "out" / "losses.json").read_text())
    first = next(entry for entry in history if "eval_loss" in entry)
    assert first["step"] == 0 and first["eval_loss"] == pytest.approx(still["eval_loss"], rel=1e-6)


def test_trackers_get_what_is_logged(tmp_path, data, monkeypatch):
    seen = []

    class Tracker(transformers.TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            seen.append((args.run_name, state.global_step, logs))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Tracker)
    monkeypatch.setattr("lm_eval_mdlm.training.arguments.get_available_reporting_integrations", lambda: ["wandb"])
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "out", start, report_to="wandb", run_name="mine", validation=str(data)))
    assert {name for name, _, _ in seen} == {"mine"}
    assert {step for _, step, logs in seen if "loss" in logs} == {1, 2, 3, 4}
    assert any("eval_loss_error" in logs for _, _, logs in seen)


@pytest.mark.parametrize(
    ("names", "message"), [("wandbb", "must name trackers of transformers"), ("wandb,comet_ml", "pip install wandb")]
)
def test_tracker_that_cannot_report_is_refused_before_anything_is_read(tmp_path, data, monkeypatch, names, message):
    monkeypatch.setattr("lm_eval_mdlm.training.arguments.get_available_reporting_integrations", list)
    with pytest.raises(UsageError, match=message):
        train(options(data, tmp_path / "out", tmp_path / "no checkpoint", report_to=names))


def test_several_gpus_without_a_launcher_are_said_to_be_idle_and_are_not_wrapped(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr("lm_eval_mdlm.training.trainer.TrainingArguments.n_gpu", property(lambda self: 4))
    monkeypatch.setattr(run, "warning_of_idle_gpus", lambda launch, cpu: "4 GPUs are visible")
    train(options(data, tmp_path / "out", make_checkpoint(tmp_path / "start"), save_every=0))
    assert "4 GPUs are visible" in capsys.readouterr().err


def test_weights_of_a_training_on_cpus_are_not_spread_over_gpus(tmp_path, data, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UsageError, match="--shard with --cpu needs GPUs out of sight, .*got 2 visible; set CUDA_VIS"):
        training_arguments(options(data, tmp_path / "out", tmp_path, shard=True), num_processes=2)


@pytest.mark.parametrize(("given", "device"), [("cpu:1", "cpu"), ("cpu", "cpu"), ("cuda:1", "cuda:1")])
def test_a_cpu_has_no_number_by_which_torch_would_read_nothing_back(given, device):
    arguments = object.__new__(OneDeviceArguments)
    arguments.__dict__["_setup_devices"] = torch.device(given)  # what transformers remembers
    assert arguments.device == torch.device(device)


def test_idle_gpus_are_named_with_the_command_that_uses_them(monkeypatch):
    from lm_eval_mdlm.training.launch import Launch, torch, warning_of_idle_gpus

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    alone = Launch(num_processes=1, process=0)
    assert "torchrun --nproc-per-node 3" in warning_of_idle_gpus(alone, cpu=False)
    assert warning_of_idle_gpus(alone, cpu=True) is None
    assert warning_of_idle_gpus(Launch(num_processes=3, process=0), cpu=False) is None


BASE = ["--data", "d", "--out", "o", "--pretrained", "p"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights-dtype", "bfloat16"], "--weights-dtype bfloat16 trains no weights"),
        (["--lora-rank", "4", "--weights-dtype", "bfloat16", "--precision", "float32"], "needs passes in it too"),
        (["--adapter-only"], "--lora-rank is 0"),
        (["--shard", "--lora-rank", "4"], "--shard cannot be combined with --lora-rank"),
        (["--shard", "--compile"], "--shard cannot be combined with --compile"),
        (["--evaluate-at-start"], "give --validation"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        from_arguments([*BASE, *arguments])


def test_adapters_of_random_weights_are_refused():
    with pytest.raises(UsageError, match="--lora-rank adapts trained weights"):
        from_arguments(["--data", "d", "--out", "o", "--from-scratch", "f", "--lora-rank", "4"])


def test_words_of_an_option_may_be_joined_by_hyphens_or_underscores():
    one = from_arguments([*BASE, "--batch-size", "3", "--dry-run", "--run-name=a_b", "--report-to", "wandb"])
    other = from_arguments([*BASE, "--batch_size", "3", "--dry_run", "--run_name=a_b", "--report_to", "wandb"])
    assert one == other and one.run_name == "a_b" and one.dry_run


@pytest.mark.parametrize(
    ("optim", "more", "message"),
    [
        ("adamw_8bit", {}, "pip install bitsandbytes"),
        ("adamw_torch_8bit", {}, "pip install torchao"),
        ("sgd", {}, "--optim must be one of adamw, adamw_8bit"),
    ],
)
def test_optimiser_that_is_not_there_is_named_before_anything_is_read(
    tmp_path, data, monkeypatch, optim, more, message
):
    monkeypatch.setattr("lm_eval_mdlm.training.optimisers.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=message):
        train(options(data, tmp_path / "out", tmp_path / "no checkpoint", optim=optim, **more))


def test_eight_bit_states_need_a_gpu_and_shards_an_optimiser_that_knows_them(monkeypatch):
    from lm_eval_mdlm.training.optimisers import OPTIMISERS

    monkeypatch.setattr("lm_eval_mdlm.training.optimisers.importlib.util.find_spec", lambda name: object())
    with pytest.raises(UsageError, match="needs a GPU"):
        OPTIMISERS["adamw_8bit"].check("adamw_8bit", shard=False, has_gpu=False)
    with pytest.raises(UsageError, match="with --shard must be one of adamw, adamw_torch_8bit, got adafactor"):
        OPTIMISERS["adafactor"].check("adafactor", shard=True, has_gpu=True)
    OPTIMISERS["adamw_8bit"].check("adamw_8bit", shard=False, has_gpu=True)


def test_adafactor_lowers_the_loss(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    losses = train(options(data, tmp_path / "out", start, optim="adafactor", steps=20, save_every=0, average_decay=0.0))
    history = json.loads((tmp_path / "out" / "losses.json").read_text())
    first = next(entry["loss"] for entry in history if "loss" in entry)
    assert losses["train_loss"] < first


def test_sharding_without_a_launcher_says_how_to_launch(tmp_path, data):
    with pytest.raises(UsageError, match="there is one; torchrun --nproc-per-node NUMBER"):
        train(options(data, tmp_path / "out", tmp_path / "no checkpoint", shard=True))


def test_text_of_the_mask_never_becomes_a_token_of_an_example(tmp_path, capsys):
    mask = "<|mdm_mask|>"
    lines = [
        {"prompt": f"Q {mask}\nA:", "response": "a"},
        {"prompt": "Q:", "solution": f"{mask} s", "answer": "1"},
        {"prompt": "Q:", "response": f"{mask}{mask}"},
        {"prompt": "plain", "response": "b"},
    ]
    start = make_checkpoint(tmp_path / "start")
    data = write_lines(tmp_path / "data", lines)
    template = f'[{{"reasoning": 24}}, {{"text": "\\n{mask} "}}, {{"answer": 4}}]'
    chosen = options(data, tmp_path / "out", start, dry_run=True, template=template)
    train(chosen)
    assert "the mask token's text in 3 of them was tokenised as ordinary text" in capsys.readouterr().err
    source = Source.open(str(start))
    encode = source.encoder.encode
    layout = layout_of(
        Template.parse(template),
        lambda text: encode(text, add_special_tokens=False).token_ids,
        end_token_id=source.tokens.end_token_ids[0],
        free_share=0.0,
        end_padding=1,
    )
    found = ExampleSet.read(data, source, layout)
    pieces = [piece for e in found.examples for piece in (e.prompt, e.solution, e.answer) if piece is not None]
    assert pieces and all(source.tokens.mask_token_id not in piece for piece in pieces)
    assert source.tokenizer.decode(found.examples[2].solution) == f"{mask}{mask}"


def test_a_network_that_sees_blocks_of_a_grid_is_refused(tmp_path, data):
    (start := make_checkpoint(tmp_path / "start", "sdar")).joinpath("model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="SDAR sees blocks of a grid"):
        train(options(data, tmp_path / "out", start))


def test_a_network_with_experts_is_trained_and_saved_in_the_layout_that_it_came_in(tmp_path, data):
    start = make_checkpoint(tmp_path / "start", "llada_moe")
    train(options(data, tmp_path / "out", start, save_every=0))
    before, after = weights(start), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before if ".experts." in name)
