"""Data parallelism: the same results from two processes as from one."""

import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM

from lm_eval_mdlm.harness.model import MDLM
from lm_eval_mdlm.running.processes import ProcessGroup
from tests.forking import torchrun
from tests.harness.running import evaluate, outcomes


ARGS = "pretrained={},gen_length=16,block_length=8,sampler=med,entropy_threshold=1.0,exit_threshold=6"


def arguments(checkpoint: str, tasks: str, output: Path, *more: str) -> list[str]:
    """Of the command line."""
    own = ["run", "--model", "mdlm", "--model_args", ARGS.format(checkpoint), "--tasks", "pens_template"]
    own += ["--include_path", tasks, "--output_path", str(output), "--log_samples", "--batch_size", "3"]
    return [*own, *more]


def launch(checkpoint: str, tasks: str, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The harness's command line in two processes."""
    return torchrun("tests.few_tasks", *arguments(checkpoint, tasks, output, *more), cwd=output)


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
    record = two["config"]["mdlm"]
    assert record["world_size"] == 2 and record["budget_of_a_pass"]["max_rows"] == 3
    # Which process does how much is a matter of moments with so little to do; the padding request is decoded too.
    needed = {sample["doc_id"]: sample["nfe"] for sample in two["samples"]["pens_template"]}  # one line per filter
    assert len(record["nfe_by_process"]) == 2 and sum(record["nfe_by_process"]) > sum(needed.values())


class Threads:
    """Two processes of a run as two threads; this is one of them."""

    world_size = 2
    gate, parts, shared = threading.Barrier(2, timeout=60), [None, None], ProcessGroup(alone=True).counters()

    def __init__(self, rank: int) -> None:
        self.rank, self.counters = rank, lambda: self.shared

    def everyones(self, attempt):
        self.parts[self.rank] = attempt()
        self.barrier()
        together = list(self.parts)
        self.barrier()
        return together

    def barrier(self):
        self.gate.wait()


def test_process_that_finds_all_its_answers_in_the_cache_helps_the_other(checkpoint, tmp_path):
    models = [MDLM(checkpoint, device="cpu", gen_length=12, batch_size=2) for _ in range(2)]
    ours, theirs = (
        [Instance("generate_until", {}, (f"{name} {i}", {"until": []}), i, ("pens", i, 1)) for i in range(8)]
        for name in "ab"
    )
    expected = [models[0].generate_until(requests, disable_tqdm=True) for requests in (ours, theirs)]
    caches = [CachingLM(model, str(tmp_path / f"{rank}.db")) for rank, model in enumerate(models)]
    for request, text in zip(theirs, expected[1], strict=True):
        models[1].cache_hook.add_partial("generate_until", request.args, text)
    for rank, model in enumerate(models):
        model._group, model._rank, model._world_size = Threads(rank), rank, 2

    def as_the_harness_does(lm, requests):
        texts = lm.generate_until(requests)
        lm.barrier()
        return texts

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(as_the_harness_does, *pair) for pair in zip(caches, (ours, theirs), strict=True)]
        assert [thread.result() for thread in running] == expected
    passes = [model.get_model_info()["mdlm"]["nfe_by_process"] for model in models]
    assert passes[1][1] > 0 and passes[0] == passes[1] and sum(passes[1]) == 8 * 12


def test_fewer_documents_than_processes_is_refused_in_one_line(checkpoint, tasks, tmp_path, forks):
    ended = forks("tests.few_tasks", *arguments(checkpoint, tasks, tmp_path, "--limit", "1"), processes=2)
    assert any(one.returncode == 1 for one in ended)
    line = "pens_template has 1 documents for 2 processes and each needs at least one; raise --limit"
    assert any(line in one.stderr for one in ended)
    assert not list(tmp_path.rglob("results_*.json"))
