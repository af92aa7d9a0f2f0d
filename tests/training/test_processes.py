"""Runs over several processes, on the CPU (gloo): what they learn, save and resume is what one process does."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lm_eval_mdlm.training.footprint import footprint
from lm_eval_mdlm.training.networks import Source
from lm_eval_mdlm.training.plan import shape_of, workload_of
from lm_eval_mdlm.training.run import train
from tests.tiny import make_checkpoint
from tests.training.running import losses, options, weights


def written(tmp_path, *runs, late=0, kill=""):
    """The path of a file with these runs."""
    plain = [{**dataclasses.asdict(run), "late": late, "kill": kill} for run in runs]
    (tmp_path / "runs.json").write_text(json.dumps(plain))
    return str(tmp_path / "runs.json")


def launch(tmp_path, *runs, **ways):
    """Train in two processes; returns the exit code and what was printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.training.in_processes", written(tmp_path, *runs, **ways)]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=240, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def furthest(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_two_processes_train_save_and_resume_as_one_does(tmp_path, data, forks):
    start = make_checkpoint(tmp_path / "start", tied=True)
    # Small steps: AdamW divides by a gradient's size, and would blow rounding up in gradients that are nearly zero.
    common = {"steps": 6, "learning_rate": 1e-3, "validation": str(data)}
    alone = train(options(data, tmp_path / "alone", start, **common))
    sharded = options(data, tmp_path / "sharded", start, **common, shard=True)
    # The last step is evaluated and not saved: averages are then copied to weights that have just been gathered.
    unsaved = dataclasses.replace(sharded, out=str(tmp_path / "unsaved"), save_every=0, evaluate_every=6)
    beside = options(data, tmp_path / "beside", start, **common)
    adapted = options(data, tmp_path / "adapted", start, **common, lora_rank=2, gradient_checkpointing=True)
    code, printed = launch(tmp_path, sharded, unsaved, beside, adapted, late=1)
    assert code == 0, printed
    for run in (sharded, unsaved, beside):
        seen = json.loads(Path(run.out, "seen.json").read_text())
        assert {name: seen[name] for name in alone} == pytest.approx(alone, rel=1e-5)
        assert losses(Path(run.out)) == pytest.approx(losses(tmp_path / "alone"), rel=1e-5)
        assert furthest(Path(run.out), tmp_path / "alone") < 2e-5
    single = train(options(data, tmp_path / "single", start, **common, lora_rank=2))
    assert json.loads((tmp_path / "adapted" / "seen.json").read_text())["eval_loss"] == pytest.approx(
        single["eval_loss"], rel=1e-5
    )
    memory_is_as_calculated(sharded, start)

    # The last checkpoint is cut off, and the run goes on from the one before.
    resumed = [Path(run.out) for run in (sharded, beside)]
    before = [weights(folder) for folder in resumed]
    for folder in resumed:
        (folder / "checkpoints" / "checkpoint-6" / "complete.json").unlink()
    plan = written(tmp_path, *(dataclasses.replace(run, resume=True) for run in (sharded, beside)))
    ended = forks("tests.training.in_processes", plan, processes=2)
    assert [one.returncode for one in ended] == [0, 0], ended
    printed = ended[0].stdout + ended[0].stderr
    for folder, known in zip(resumed, before, strict=True):
        assert f"Resuming from {folder / 'checkpoints' / 'checkpoint-4'}" in printed
        assert losses(folder) == pytest.approx(losses(tmp_path / "alone"), rel=1e-5)
        after = weights(folder)
        assert all(torch.equal(known[name], after[name]) for name in known)


def memory_is_as_calculated(run, start):
    seen = json.loads(Path(run.out, "seen.json").read_text())
    source = Source.open(str(start))
    need = footprint(shape_of(source, run), workload_of(run, rows=2, length=50, num_processes=2))
    # Every weight is split by rows, so halves may differ by a row.
    assert 4 * seen["weights here"] == pytest.approx(need.weights, rel=0.01)
    assert 4 * seen["states here"] == pytest.approx(need.optimiser, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["step 4", "checkpoint 4", "final save"])
def test_sharded_run_killed_by_a_signal_and_resumed_has_equal_losses(tmp_path, data, moment):
    start = make_checkpoint(tmp_path / "start")
    run = options(data, tmp_path / "whole", start, steps=6, learning_rate=1e-3, shard=True)
    code, printed = launch(tmp_path, run)
    assert code == 0, printed
    killed = dataclasses.replace(run, out=str(tmp_path / "killed"))
    code, printed = launch(tmp_path, killed, kill=moment)
    assert code != 0 and "SIGKILL" in printed
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    code, printed = launch(tmp_path, dataclasses.replace(killed, resume=True))
    assert code == 0, printed
    assert f"checkpoint-{6 if moment == 'final save' else 2}" in printed
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert furthest(tmp_path / "killed", tmp_path / "whole") == 0
