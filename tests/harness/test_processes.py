"""Data parallelism: the same results from two processes as from one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.running import evaluate, outcomes


ROOT = Path(__file__).parents[2]
ARGS = "pretrained={},gen_length=16,block_length=8,sampler=med,entropy_threshold=1.0,exit_threshold=6"


def launch(checkpoint: str, tasks: str, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`torchrun` of the harness's command line with two processes on the CPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"]
    command += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", "-m", "lm_eval_mdlm", "run", "--model", "mdlm"]
    command += ["--model_args", ARGS.format(checkpoint), "--tasks", "pens_template", "--include_path", tasks]
    command += ["--output_path", str(output), "--log_samples", "--batch_size", "3", *more]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        cwd=output,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("limit", [11])  # odd: one process repeats its last request as padding
def test_two_processes_give_the_results_of_one(checkpoint, tasks, tmp_path, limit):
    done = launch(checkpoint, tasks, tmp_path, "--limit", str(limit), "--use_cache", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = tmp_path.rglob("results_*.json")
    (samples,) = tmp_path.rglob("samples_*.jsonl")
    two = json.loads(results.read_text())
    two["samples"] = {"pens_template": [json.loads(line) for line in samples.read_text().splitlines()]}

    options = {"sampler": "med", "entropy_threshold": 1.0, "exit_threshold": 6}
    one = evaluate(checkpoint, tasks, ["pens_template"], run_limit=limit, **options)
    assert outcomes(two, "pens_template") == outcomes(one, "pens_template")
    for name, value in one["results"]["pens_template"].items():
        if "nfe" in name or "entropy" in name or "exact_match" in name:
            assert two["results"]["pens_template"][name] == pytest.approx(value), name
    assert two["config"]["mdlm"]["world_size"] == 2


def test_fewer_documents_than_processes_is_refused_in_one_line(checkpoint, tasks, tmp_path):
    done = launch(checkpoint, tasks, tmp_path, "--limit", "1")
    assert done.returncode != 0
    assert "pens_template has 1 documents for 2 processes and each needs at least one; raise --limit" in done.stderr
    assert not list(tmp_path.rglob("results_*.json"))
