"""A run that was killed goes on from its newest whole checkpoint and ends where an undisturbed one does."""

import json
import os
import shutil

import pytest
import torch

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training import saving
from lm_eval_mdlm.training.resuming import MARKER, is_complete, mark_complete, newest_complete
from lm_eval_mdlm.training.run import train
from lm_eval_mdlm.training.trainer import DiffusionTrainer
from tests.tiny import make_checkpoint
from tests.training.running import assert_equal_weights, losses, options


class Killed(BaseException):
    """As a signal ends a process: no handler of errors sees it."""


def in_a_step(monkeypatch):
    step = DiffusionTrainer.training_step
    calls = []

    def killed_at_the_fourth(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return step(*args, **kwargs)

    monkeypatch.setattr(DiffusionTrainer, "training_step", killed_at_the_fourth)


def in_a_checkpoint(monkeypatch):
    save = torch.save

    def killed_in_the_second_optimiser(found, path, *args, **kwargs):
        save(found, path, *args, **kwargs)
        if str(path).endswith(os.path.join("checkpoint-4", "optimizer.pt")):
            os.truncate(path, os.path.getsize(path) // 2)
            raise Killed

    monkeypatch.setattr(torch, "save", killed_in_the_second_optimiser)


def in_the_final_save(monkeypatch):
    def killed(source, target):
        raise Killed

    monkeypatch.setattr(saving.os, "replace", lambda s, t: killed(s, t) if "saving" in str(s) else os.rename(s, t))


@pytest.mark.parametrize("rank", [0, 2], ids=["full", "lora"])
@pytest.mark.parametrize("kill", [in_a_step, in_a_checkpoint, in_the_final_save])
def test_killed_run_resumed_ends_where_an_undisturbed_one_does(tmp_path, data, monkeypatch, kill, rank):
    start = make_checkpoint(tmp_path / "start", tied=rank == 0)
    train(options(data, tmp_path / "whole", start, lora_rank=rank))
    with monkeypatch.context() as patched:
        kill(patched)
        with pytest.raises(Killed):
            train(options(data, tmp_path / "killed", start, lora_rank=rank))
    assert not (tmp_path / "killed" / "config.json").exists()
    train(options(data, tmp_path / "killed", start, lora_rank=rank, resume=True))
    assert_equal_weights(tmp_path / "whole", tmp_path / "killed")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_run_that_had_ended_resumes_to_the_same_end(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    first = train(options(data, tmp_path / "out", start, validation=str(data)))
    shutil.copytree(tmp_path / "out", tmp_path / "again")
    assert train(options(data, tmp_path / "again", start, validation=str(data), resume=True)) == first
    assert_equal_weights(tmp_path / "out", tmp_path / "again")


def checkpoint(folder, step):
    made = folder / f"checkpoint-{step}"
    (made / "inner").mkdir(parents=True)
    (made / "weights").write_bytes(b"12345678")
    (made / "inner" / "part").write_bytes(b"123")
    mark_complete(made)
    return made


@pytest.mark.parametrize("damage", ["no marker", "half a marker", "short file", "missing file"])
def test_newest_whole_checkpoint_is_taken_by_its_number(tmp_path, damage):
    nine, ten = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    (tmp_path / "runs").mkdir()
    assert newest_complete(tmp_path) == (ten, [])
    if damage == "no marker":
        (ten / MARKER).unlink()
    elif damage == "half a marker":
        os.truncate(ten / MARKER, 5)
    elif damage == "short file":
        (ten / "weights").write_bytes(b"1234")
    else:
        (ten / "inner" / "part").unlink()
    assert not is_complete(ten)
    assert newest_complete(tmp_path) == (nine, [ten])
    assert newest_complete(tmp_path / "none") == (None, [])


def test_checkpoints_are_marked_after_everything_that_is_in_them(tmp_path, data):
    train(options(data, tmp_path / "out", make_checkpoint(tmp_path / "start")))
    folder = tmp_path / "out" / "checkpoints" / "checkpoint-4"
    marked = json.loads((folder / MARKER).read_text())
    assert marked.keys() == {path.name for path in folder.iterdir()} - {MARKER}
    assert {"averaged_weights.safetensors", "optimizer.pt", "model.safetensors", "trainer_state.json"} <= marked.keys()


def test_checkpoint_of_another_network_is_refused(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "out", start, lora_rank=2, average_decay=0.0))
    shutil.copytree(make_checkpoint(tmp_path / "larger", layers=3), start, dirs_exist_ok=True)
    with pytest.raises(UsageError, match=r"--resume: .* holds 28 weights, and this run trains 42"):
        train(options(data, tmp_path / "out", start, lora_rank=2, average_decay=0.0, resume=True))
