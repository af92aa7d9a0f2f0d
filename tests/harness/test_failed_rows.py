"""Rows for which the network returns no numbers, in runs of the harness: counted beside the scores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_mdlm.harness import model
from tests.harness.poisoned import load
from tests.harness.running import evaluate
from tests.harness.test_likelihood_runs import CHOICES, LONG, PAIRS, run as run_of_likelihoods


ROOT = Path(__file__).parents[2]
run = run_of_likelihoods
BAD = "Ann has 3 pens"


@pytest.fixture
def poison(monkeypatch):
    monkeypatch.setenv("MDLM_TEST_POISON", BAD)
    monkeypatch.setattr(model, "load_backbone", load)


def by_document(results, task):
    return {line["doc_id"]: line for line in results["samples"][task]}


def test_a_failed_text_is_counted_in_the_table_and_marked_in_the_samples(checkpoint, tasks, poison, monkeypatch):
    results = evaluate(checkpoint, tasks, ["pens"])
    monkeypatch.undo()
    sound = evaluate(checkpoint, tasks, ["pens"])
    table = results["results"]["pens"]
    assert table["failed_rows,strict"] == table["failed_rows,loose"] == 1
    assert not any("failed_rows" in name for name in sound["results"]["pens"])
    assert results["config"]["mdlm"]["failed_rows"] == 1 and sound["config"]["mdlm"]["failed_rows"] == 0
    ours, theirs = by_document(results, "pens"), by_document(sound, "pens")
    assert (ours[3]["failed_rows"], ours[3]["stop"], ours[3]["resps"]) == (1, "failed", [[""]])
    for doc_id in ours.keys() - {3}:
        assert ours[doc_id]["failed_rows"] == 0
        assert {**ours[doc_id], "metrics": None} == {**theirs[doc_id], "failed_rows": 0, "metrics": None}


@pytest.mark.slow
def test_failed_rows_are_shown_without_the_other_counts_too(checkpoint, tasks, poison):
    table = evaluate(checkpoint, tasks, ["pens"], task_stats=False)["results"]["pens"]
    assert table["failed_rows,strict"] == 1 and "nfe,strict" not in table


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # the harness's softmax of choices that all failed
def test_a_failed_likelihood_is_less_than_all_others(run, monkeypatch):
    monkeypatch.setattr(model, "load_backbone", load)
    monkeypatch.setenv("MDLM_TEST_POISON", "Which 3 pens")
    results = run(CHOICES, PAIRS, LONG, likelihood="l2r", mc_num=None)
    for task, number in (("choices", 3), ("pairs", 1), ("long", 1)):
        assert results["results"][task]["failed_rows,none"] == number
        for doc_id, line in by_document(results, task).items():
            replies = [repeats[0] for repeats in line["resps"]]
            scores = [one if isinstance(one, float) else one[0] for one in replies]
            assert all((score == float("-inf")) == (line["failed_rows"] > 0) for score in scores), (task, doc_id)


def test_use_cache_forgets_failed_rows_before_the_next_run(checkpoint, tasks, poison, monkeypatch, tmp_path):
    cache = str(tmp_path / "cache")
    first = evaluate(checkpoint, tasks, ["pens"], run_use_cache=cache)
    monkeypatch.undo()
    second = evaluate(checkpoint, tasks, ["pens"], run_use_cache=cache)
    record = second["config"]["mdlm"]
    assert record["totals_of_rank_0"]["from_cache"] == 11 and record["failed_rows"] == 0
    ours, theirs = by_document(first, "pens"), by_document(second, "pens")
    assert theirs[3]["stop"] != "failed" and theirs[3]["nfe"] > 1
    assert all(ours[i]["resps"] == theirs[i]["resps"] for i in ours.keys() - {3})


def launched(checkpoint, tasks, folder, processes) -> subprocess.CompletedProcess[str]:
    launcher = ["torch.distributed.run", f"--nproc_per_node={processes}", "--rdzv_backend=c10d"]
    launcher += ["--rdzv_endpoint=localhost:0", "-m"]
    command = [sys.executable, "-m", *(launcher if processes > 1 else []), "tests.harness.poisoned", "run"]
    command += ["--model", "mdlm", "--model_args", f"pretrained={checkpoint},gen_length=16,block_length=8"]
    command += ["--tasks", "pens", "--include_path", tasks, "--output_path", str(folder), "--log_samples"]
    own = {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "MDLM_TEST_POISON": BAD}
    return subprocess.run(
        [*command, "--device", "cpu"],
        env={**os.environ, **own},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_the_command_line_writes_everything_and_ends_with_its_own_code(checkpoint, tasks, tmp_path, processes):
    done = launched(checkpoint, tasks, tmp_path, processes)
    assert done.returncode == (3 if processes == 1 else 1), done.stderr[-3000:]  # torchrun has a code of its own
    (results,), (samples,) = tmp_path.rglob("results_*.json"), tmp_path.rglob("samples_*.jsonl")
    table = json.loads(results.read_text())["results"]["pens"]
    assert table["failed_rows,strict"] == 1 and "nfe,strict" in table
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert {line["doc_id"] for line in lines if line["failed_rows"]} == {3} and len(lines) == 24
    assert "failed_rows" in done.stdout  # the printed table
    told = [line for line in done.stderr.splitlines() if "pens, document 3, request " in line]
    assert len(told) == 1 and "the network returned NaN in dtype=float32" in told[0]
    assert done.stderr.count("lm_eval_mdlm: error: ") == 1 and "for 1 of the rows" in done.stderr
    if processes > 1:
        assert "exitcode  : 3" in done.stderr
