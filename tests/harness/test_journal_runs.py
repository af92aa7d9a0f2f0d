"""Runs with a journal: what it has is not run again, and nobody can tell from the results."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.model import MDLM
from lm_eval_mdlm.running.generation import RowRequest
from lm_eval_mdlm.running.scoring import ScoreRequest
from tests.harness import stock_likelihoods
from tests.harness.plain import differences, scores
from tests.harness.test_stock_likelihoods import written
from tests.killing import kill_with_children
from tests.tiny import make_checkpoint


ROOT = Path(__file__).parents[2]
OPTIONS: dict[str, Any] = {"mc_num": 6, "gen_length": 8, "block_length": 4, "k": 2, "device": "cpu"}
TASKS = ("pens", "arc_easy", "lambada_openai", "wikitext")
"""Texts, choices, pairs and long texts."""


@pytest.fixture(scope="module")
def manager(tasks) -> TaskManager:
    return stock_likelihoods.manager(tasks)


@pytest.fixture
def run(checkpoint, manager, monkeypatch):
    """A mixed run by a model that is loaded anew."""
    monkeypatch.setattr(datasets, "load_dataset", stock_likelihoods.load_dataset)

    def evaluated(path=checkpoint, *, names=TASKS, **more: Any) -> Any:
        ours = {name.removeprefix("run_"): more.pop(name) for name in list(more) if name.startswith("run_")}
        model = MDLM(path, **{**OPTIONS, "batch_size": 4, **more})
        return simple_evaluate(model, tasks=list(names), task_manager=manager, bootstrap_iters=0, **ours)

    return evaluated


def totals(results: Any) -> dict[str, int]:
    return dict(results["config"]["mdlm"]["totals_of_rank_0"])


@pytest.fixture
def no_passes(monkeypatch):
    def forbid() -> None:
        for kind in (RowRequest, ScoreRequest):
            monkeypatch.setattr(kind, "work", lambda self, backbone: pytest.fail("a request was run"))

    return forbid


@pytest.mark.parametrize("batch_size", [1, 8])
def test_second_run_is_answered_by_the_journal_alone(run, tmp_path, no_passes, batch_size):
    first = run(journal=str(tmp_path / "journal"))
    assert totals(first)["from_journal"] == 0 and sum(first["config"]["mdlm"]["nfe_by_process"]) > 0
    assert not list(differences(scores(first), scores(run())))
    no_passes()
    second = run(journal=str(tmp_path / "journal"), batch_size=batch_size)
    assert not list(differences(scores(second), scores(first)))
    assert totals(second)["from_journal"] == totals(second)["requests"] == totals(first)["requests"]
    assert second["config"]["mdlm"]["nfe_by_process"] == [0]
    for name in ("nfe", "tokens", "requests"):
        assert totals(second)[name] == totals(first)[name]
    assert second["config"]["mdlm"]["decoding_by_task"] == first["config"]["mdlm"]["decoding_by_task"]


def test_documents_that_are_new_are_run_and_others_are_not(run, tmp_path):
    run(journal=str(tmp_path), run_limit=2, names=["pens", "arc_easy"])
    found = run(journal=str(tmp_path), run_limit=5, names=["pens", "arc_easy"])
    assert not list(differences(scores(found), scores(run(run_limit=5, names=["pens", "arc_easy"]))))
    assert (totals(found)["requests"], totals(found)["from_journal"]) == (5 + 5 * 4, 2 + 2 * 4)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"mc_num": 5}, 3),
        ({"likelihood": "l2r", "mc_num": None}, 3),
        ({"cfg_scale": 0.5}, 0),
        ({"seed": 1}, 0),
        ({"k": 3}, 12),  # an estimate without greedy decoding does not ask the sampler
        ({"dtype": "bfloat16"}, 0),
        ({"batch_size": "auto"}, 3 + 12),
        ({"max_batch_size": 2}, 3 + 12),
    ],
    ids=str,
)
def test_other_options_are_computed_anew(run, tmp_path, change, kept):
    names = ["pens", "arc_easy"]
    run(journal=str(tmp_path), run_limit=3, names=names)
    found = run(journal=str(tmp_path), run_limit=3, names=names, **change)
    assert totals(found)["from_journal"] == kept
    assert not list(differences(scores(found), scores(run(run_limit=3, names=names, **change))))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "weights"])
def test_other_checkpoint_or_tokenizer_is_computed_anew(run, tmp_path, file):
    folder = make_checkpoint(tmp_path / "checkpoint", "llada")
    run(str(folder), journal=str(tmp_path / "journal"), run_limit=1, names=["arc_easy"])
    moved = folder.rename(tmp_path / "elsewhere")
    same = run(str(moved), journal=str(tmp_path / "journal"), run_limit=1, names=["arc_easy"])
    assert totals(same)["from_journal"] == 4
    if file == "weights":
        make_checkpoint(moved, "llada", seed=1)
    elif file == "config.json":
        path = moved / file
        path.write_text(json.dumps({**json.loads(path.read_text()), "rope_theta": 5000.0}))
    else:
        path = moved / file
        path.write_text(path.read_text() + "\n")
    other = run(str(moved), journal=str(tmp_path / "journal"), run_limit=1, names=["arc_easy"])
    assert totals(other)["from_journal"] == 0


def test_journal_and_cache_stand_together(run, tmp_path, no_passes):
    options = {"journal": str(tmp_path / "journal"), "run_use_cache": str(tmp_path / "cache")}
    first = run(**options)
    no_passes()
    both = run(**options)
    assert not list(differences(scores(both), scores(first)))
    assert (totals(both)["from_cache"], totals(both)["from_journal"]) == (totals(first)["requests"], 0)
    fresh = run(journal=options["journal"], run_use_cache=str(tmp_path / "another"))
    assert not list(differences(scores(fresh), scores(first)))
    again = run(run_use_cache=str(tmp_path / "another"))  # which the journal has filled
    assert not list(differences(scores(again), scores(first)))


def test_samples_of_choices_that_end_together_are_kept_together(run, tmp_path, no_passes):
    options = {"mc_num": 64, "mc_se": 12.0, "names": ["arc_easy"]}
    first = run(journal=str(tmp_path), **options)
    saved = [line["nfe_saved"] for line in first["samples"]["arc_easy"]]
    assert max(saved) > 0 and first["results"]["arc_easy"]["nfe_saved,none"] == pytest.approx(sum(saved) / len(saved))
    no_passes()
    second = run(journal=str(tmp_path), batch_size=16, **options)
    assert not list(differences(scores(second), scores(first)))
    assert totals(second)["from_journal"] == 24


def test_cache_cannot_keep_choices_that_end_together(run, tmp_path):
    with pytest.raises(UsageError, match="mc_se=2 samples the choices of a document together, and --use_cache"):
        run(run_use_cache=str(tmp_path / "cache"), mc_se=2.0, names=["arc_easy"])


# Killed at any moment


@pytest.fixture(scope="module")
def long_task(tmp_path_factory, checkpoint) -> str:
    """The folder of a task whose requests take a while beside the start of a process."""
    folder = tmp_path_factory.mktemp("killed")
    rows = [{"question": f"How many are {n} pens and {n * n} loaves?", "answer": str(n)} for n in range(24)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}},
        "test_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "metadata": {"version": 1.0},
    }
    texts = {**plain, "task": "long_texts", "output_type": "generate_until", "doc_to_target": "{{answer}}"}
    texts |= {"generation_kwargs": {"until": ["Question:"]}}
    pairs = {**plain, "task": "long_pairs", "output_type": "loglikelihood"}
    pairs |= {"doc_to_target": " {{answer}} pens and loaves in all, she says", "metric_list": [{"metric": "acc"}]}
    for task in (texts, pairs):
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(task))
    return str(folder)


class Command:
    """The command line in a folder, with a journal."""

    def __init__(self, checkpoint: str, tasks: str, folder: Path, processes: int) -> None:
        self.folder, self.journal, self.begun = folder, folder / "journal", folder / "begun"
        launcher = ["torch.distributed.run", f"--nproc_per_node={processes}", "--rdzv_backend=c10d"]
        launcher += ["--rdzv_endpoint=localhost:0", "-m"]
        options = f"pretrained={checkpoint},journal={self.journal},mc_num=32,gen_length=32,block_length=16"
        self._command = [sys.executable, "-m", *(launcher if processes > 1 else [])]
        self._command += ["tests.harness.stock_likelihoods", "run", "--model", "mdlm", "--model_args", options]
        self._command += ["--include_path", tasks, "--tasks", "long_texts,long_pairs", "--log_samples"]
        self._command += ["--output_path", str(folder / "output"), "--batch_size", "3", "--device", "cpu"]

    def start(self) -> subprocess.Popen[bytes]:
        own = {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        own |= {"MDLM_TEST_BEGUN": str(self.begun)}
        with (self.folder / "stderr").open("wb") as log:
            return subprocess.Popen(
                self._command,
                env={**os.environ, **own},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def num_stored(self) -> int:
        """Complete lines of all files but their headers."""
        files = [path.read_bytes() for path in self.journal.glob("*")] if self.journal.exists() else []
        return sum(max(0, content.count(b"\n") - 1) for content in files)

    def num_begun(self) -> Counter[str]:
        return Counter(self.begun.read_text().splitlines() if self.begun.exists() else [])

    def kill_at(self, stored: int) -> bool:
        """Kill a run once the journal has so many records; whether that was before its end."""
        running = self.start()
        while running.poll() is None and self.num_stored() < stored:
            time.sleep(0.002)
        killed = running.poll() is None
        if killed:
            kill_with_children(running)
        running.wait()
        return killed


def check_kills(checkpoint: str, tasks: str, tmp_path: Path, processes: int, kills: int) -> None:
    undisturbed = Command(checkpoint, tasks, tmp_path / "undisturbed", 1)
    killed = Command(checkpoint, tasks, tmp_path / "killed", processes)
    for command in (undisturbed, killed):
        command.folder.mkdir()
    assert undisturbed.start().wait() == 0, (undisturbed.folder / "stderr").read_text()[-3000:]
    requests = undisturbed.num_stored()
    draw = random.Random(kills)
    moments = sorted(draw.randrange(requests) for _ in range(kills))
    most_in_flight = 0
    for moment in moments:
        before = killed.num_stored()
        begun = killed.num_begun().total()
        assert killed.kill_at(max(moment, before + draw.randrange(2)))
        most_in_flight = max(most_in_flight, killed.num_begun().total() - begun - (killed.num_stored() - before))
    running = killed.start()
    assert running.wait() == 0, (killed.folder / "stderr").read_text()[-3000:]
    assert killed.num_stored() == requests
    assert most_in_flight <= 3 * processes  # --batch_size
    assert killed.num_begun().total() <= requests + kills * 3 * processes
    theirs, ours = written(undisturbed.folder / "output"), written(killed.folder / "output")
    assert ours["results"].keys() == theirs["results"].keys()
    for task, values in theirs["results"].items():
        for name, value in values.items():
            assert ours["results"][task][name] == (value if processes == 1 else pytest.approx(value)), (task, name)
    for task, lines in theirs["samples"].items():
        assert sorted(ours["samples"][task], key=lambda line: line["doc_id"]) == lines
    found = ours["config"]["mdlm"]["totals_of_rank_0"]
    assert 0 < found["from_journal"] <= found["requests"]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1])
def test_killed_run_is_taken_up_again_to_the_same_results(checkpoint, long_task, tmp_path, processes):
    check_kills(checkpoint, long_task, tmp_path, processes, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_run_killed_twenty_times_comes_to_the_same_results(checkpoint, long_task, tmp_path, processes):
    check_kills(checkpoint, long_task, tmp_path, processes, kills=20)
