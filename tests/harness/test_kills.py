"""SIGKILL at random moments: 50 in all, over evaluations, posterior traces, sweeps and trainings, one process and two.

Every restart ends with the files of an undisturbed run but for times, and does no more again than was in flight.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.test_journal_runs import long_task  # noqa: F401  a fixture
from tests.harness.test_stock_likelihoods import written
from tests.harness.test_sweep import contents
from tests.killing import kill_with_children
from tests.test_faults import environment, posterior, training
from tests.tiny import make_checkpoint
from tests.training.running import LINES, losses, weights, write_lines


pytestmark = pytest.mark.slow
ROWS = 3
"""Rows that a process has begun and not finished, at most: its batch size."""


@dataclass(frozen=True)
class Case:
    """One command, and what its results are."""

    arguments: Callable[[Path], list[str]]
    """For a folder."""
    results: Callable[[Path, int], Any]
    """What has to be the same, by folder and number of processes."""
    in_flight: int
    """Begun and not kept by a process, at most."""
    again: Sequence[str] = ()
    """What a restart adds to the arguments."""


def evaluation_of(inputs: Path, folder: Path) -> list[str]:
    args = f"pretrained={inputs / 'checkpoint'},journal={folder / 'journal'},mc_num=16,gen_length=32,block_length=16"
    command = ["run", "--model", "mdlm", "--model_args", args, "--tasks", "long_texts,long_pairs"]
    command += ["--include_path", str(inputs), "--log_samples", "--output_path", str(folder / "output")]
    return [*command, "--batch_size", str(ROWS), "--device", "cpu"]


def results_of(folder: Path, processes: int) -> Any:
    # A kill at the very end of an attempt leaves its results behind, whole or not.
    newest = max(path.stem.removeprefix("results_") for path in folder.rglob("results_*.json"))
    for path in (folder / "output").rglob("*_*.json*"):
        if newest not in path.name:
            path.unlink()
    found = written(folder / "output")
    samples = {task: sorted(own, key=lambda line: line["doc_id"]) for task, own in found["samples"].items()}
    # The harness adds up floats in the order of processes.
    scores = {
        t: {n: round(v, 9) if isinstance(v, float) else v for n, v in s.items()} for t, s in found["results"].items()
    }
    return json.dumps([samples, scores], sort_keys=True, default=str)


def trained(folder: Path, processes: int) -> Any:
    return losses(folder / "run"), {name: weight.tolist() for name, weight in weights(folder / "run").items()}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, long_task) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("inputs")
    make_checkpoint(folder / "checkpoint", "llada")
    for path in Path(long_task).glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    task = yaml.safe_load((folder / "long_texts.yaml").read_text())
    template = [{"reasoning": 24}, {"text": "\nThe answer is "}, {"answer": 6}]
    filled = {**task, "task": "filled", "generation_kwargs": {"template": template, "until": []}}
    (folder / "filled.yaml").write_text(yaml.safe_dump(filled))
    sweep: dict[str, Any] = {"model_args": {"pretrained": str(folder / "checkpoint")}, "tasks": ["long_texts"]}
    sweep |= {"include_path": str(folder), "device": "cpu", "batch_size": ROWS, "limit": 12}
    sweep["grid"] = [{"sampler": "fixed_k", "k": [1, 2, 3], "gen_length": 32, "block_length": 32}]
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    write_lines(folder / "train.jsonl", LINES * 4)
    return folder


def case_of(what: str, inputs: Path) -> Case:
    return {
        "evaluation": Case(lambda folder: evaluation_of(inputs, folder), results_of, ROWS),
        "posterior": Case(
            lambda folder: posterior(
                inputs, folder / "traces.jsonl", "--journal", str(folder / "journal"), "--batch_size", str(ROWS)
            ),
            lambda folder, processes: (folder / "traces.jsonl").read_text(),
            ROWS,
        ),
        "sweep": Case(
            lambda folder: ["sweep", str(inputs / "sweep.yaml"), "--output", str(folder / "sweep")],
            lambda folder, processes: contents(folder / "sweep"),
            ROWS,
        ),
        # A checkpoint after every second step.
        "training": Case(
            lambda folder: training(inputs, folder / "run", "--workers", "0", "--log-every", "1", steps=40),
            trained,
            2,
            ["--resume"],
        ),
    }[what]


class Runs:
    """A command in a folder of its own, started as often as need be."""

    def __init__(self, case: Case, folder: Path, processes: int) -> None:
        folder.mkdir()
        self.case, self.folder, self.processes, self.begun = case, folder, processes, folder / "begun"

    def start(self) -> "subprocess.Popen[bytes]":
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}", "-m"]
        command = [sys.executable, "-m", *(launcher if self.processes > 1 else []), "tests.begun"]
        again = self.case.again if (self.folder / "run" / "training.json").exists() else ()
        with (self.folder / "stderr").open("wb") as log:
            return subprocess.Popen(
                [*command, *self.case.arguments(self.folder), *again],
                env=environment(MDLM_TEST_BEGUN=str(self.begun)),
                cwd=self.folder,  # not a repository, of whose commit the harness would take note
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def num_begun(self) -> int:
        return self.begun.read_bytes().count(b"\n") if self.begun.exists() else 0

    def complete(self) -> None:
        assert self.start().wait() == 0, (self.folder / "stderr").read_text()[-3000:]

    def kill_once_begun(self, number: int, seconds: float) -> bool:
        """Kill all processes so many seconds after so much has been begun in all; whether that was before the end."""
        running = self.start()
        while running.poll() is None and self.num_begun() < number:
            time.sleep(0.002)
        time.sleep(seconds)
        killed = running.poll() is None
        if killed:
            kill_with_children(running)
        running.wait()
        return killed


@pytest.mark.parametrize(
    ("what", "processes", "kills"),
    [
        *(("evaluation", processes, 7) for processes in (1, 2)),
        *((what, processes, 6) for what in ("posterior", "sweep", "training") for processes in (1, 2)),
    ],
)
def test_killed_runs_come_to_the_same_files(inputs, tmp_path, what, processes, kills):
    case = case_of(what, inputs)
    undisturbed, killed = (Runs(case, tmp_path / name, processes) for name in ("undisturbed", "killed"))
    undisturbed.complete()
    needed, draw = undisturbed.num_begun(), random.Random(f"{what} {processes}")
    done = 0
    for left in range(kills, 0, -1):
        # What was begun counts repeats too, so that at least so much is left, for all further kills.
        more = draw.randint(1, max(1, (needed - killed.num_begun()) // left))
        done += killed.kill_once_begun(killed.num_begun() + more, draw.choice([0, 0, 0.01, 0.1]))
    killed.complete()
    again = killed.num_begun() - needed
    print(f"{what}, {processes} processes: {done} kills, {needed} begun undisturbed, {again} of them again")
    assert done >= kills - 1 and 0 <= again <= done * case.in_flight * processes
    assert case.results(killed.folder, processes) == case.results(undisturbed.folder, processes)
