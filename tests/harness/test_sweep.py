"""Sweeps from end to end on a tiny checkpoint: every cell, the table, kills, failures, folders of others."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest
import yaml
from lm_eval.loggers import EvaluationTracker

from lm_eval_mdlm.commands.sweep import main
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.sweep import Share, _whole, run_sweep
from lm_eval_mdlm.harness.sweep_config import SweepConfig
from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.replays import folder_of
from tests.harness.running import evaluate
from tests.killing import kill_with_children


GRID = [
    {"sampler": "med", "entropy_threshold": [0.5, 2.0], "gen_length": 16, "block_length": 8},
    {"sampler": "fixed_k", "k": 3, "temperature": 0.8, "gen_length": 16, "block_length": 8},
]
PROMPTS = {"own": None, "other": {"pens": "Q: {{question}}\nA:"}}


@pytest.fixture(scope="module")
def written(checkpoint, tasks):
    return {
        "model_args": {"pretrained": checkpoint, "dtype": "float32"},
        "tasks": ["pens", "pens_template"],
        "include_path": tasks,
        "device": "cpu",
        "seeds": [1, 2],
        "num_fewshot": 1,
        "limit": 6,
        "prompts": PROMPTS,
        "grid": GRID,
    }


def config_of(tmp_path, written, name="sweep.yaml") -> SweepConfig:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(written))
    return SweepConfig.read(path)


def contents(output: Path) -> dict[str, str]:
    """All files of a sweep by what they are, without what tells when or where they were made."""
    found = {}
    for file in sorted((output / "cells").rglob("*.json*")):
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.suffix == ".jsonl" else None
        key = f"{file.relative_to(output / 'cells').parts[0]}/{file.name.rsplit('_', 1)[0]}"
        found[key] = json.dumps(without_times(json.loads(file.read_text()) if lines is None else lines))
    return {**found, "table": (output / "cells.csv").read_text()}


TIMES = {"date", "start_time", "end_time", "total_evaluation_time_seconds", "totals_of_rank_0", "journal"}
TIMES |= {"nfe_by_process"}  # passes that this run itself took, of which the journal spares some


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(own) for name, own in value.items() if name not in TIMES}
    return [without_times(own) for own in value] if isinstance(value, list) else value


def test_every_cell_is_the_run_of_the_harness_that_it_names(tmp_path, written, checkpoint, tasks, capsys):
    config = config_of(tmp_path, written)
    outcome = run_sweep(config, tmp_path / "out")
    assert (outcome.finished, outcome.failed) == (8, {})
    printed = capsys.readouterr().out
    assert printed.count("cell 1 of 8: ") == 1 and "cell 8 of 8, about 0 min left: " in printed
    table = pandas.read_csv(tmp_path / "out" / "cells.csv")
    assert pandas.read_parquet(tmp_path / "out" / "cells.parquet").shape == table.shape
    assert len(table) == 8 * 2 * 2  # cells, tasks, filters
    # The tasks' own wording, against the harness asked directly.
    for way, seed in (({"sampler": "med", "entropy_threshold": 2.0}, 1), ({"sampler": "fixed_k", "k": 3}, 2)):
        drawn = {"temperature": 0.8, "do_sample": True} if "k" in way else {}
        asked = {**way, **drawn, "gen_length": 16, "block_length": 8}
        more = {"run_num_fewshot": 1, "run_limit": 6, "run_torch_random_seed": seed, "dtype": "float32"}
        direct = evaluate(checkpoint, tasks, ["pens"], gen_kwargs=asked, **more)["results"]["pens"]
        rows = table[(table.task == "pens") & (table.prompt == "own") & (table.seed == seed)]
        rows = rows[(rows.sampler == way["sampler"]) & (rows["entropy_threshold"].fillna(2.0) == 2.0)]
        for name in ("strict", "loose"):
            (row,) = rows[rows["filter"] == name].to_dict("records")
            assert row["exact_match"] == direct[f"exact_match,{name}"] and row["nfe"] == direct[f"nfe,{name}"]
            assert row["nominal_nfe"] == 6 if "k" in way else pandas.isna(row["nominal_nfe"])
    fixed = table[table.sampler == "fixed_k"]  # in the template, blocks hold more and fewer masks
    assert (fixed.nfe == fixed.nominal_nfe).all() and len(set(fixed.nominal_nfe)) == 2
    # Another wording is another text, in the shots too, and only where it was asked for.
    folders = {cell.name: cell for cell in config.cells(lambda options: "temperature" in options)}
    for name, cell in folders.items():
        for task in config.tasks:
            (file,) = (tmp_path / "out" / "cells" / name).rglob(f"samples_{task}_2*.jsonl")
            prompt = json.loads(file.read_text().splitlines()[0])["arguments"]["gen_args_0"]["arg_0"]
            reworded = cell.prompt.name == "other" and task == "pens"
            assert (prompt.count("Q: "), prompt.count("Question: ")) == ((2, 0) if reworded else (0, 2))


@pytest.mark.slow
def test_done_cells_are_skipped_and_new_ones_added(tmp_path, written, capsys):
    few = {**written, "grid": GRID[:1], "prompts": None, "tasks": ["pens"]}
    run_sweep(config_of(tmp_path, few), tmp_path / "out")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "cells").rglob("*.json*")}
    capsys.readouterr()
    run_sweep(config_of(tmp_path, few), tmp_path / "out")
    assert "cell " not in capsys.readouterr().out
    outcome = run_sweep(config_of(tmp_path, {**few, "grid": GRID}), tmp_path / "out")
    assert outcome.finished == 4 and "cell 3 of 4" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(pandas.read_csv(tmp_path / "out" / "cells.csv")) == 8


def test_shares_make_every_cell_once_and_the_whole_sweep_then_only_the_table(tmp_path, small, capsys):
    own = {**small, "grid": [{"sampler": "fixed_k", "k": [16, 8, 4], "gen_length": 16}]}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.1.part").write_text("another share is about to claim the folder")
    names = {cell.name for cell in config_of(tmp_path, own).cells(lambda options: False)}
    made = []
    for number in (1, 2):
        assert not run_sweep(config_of(tmp_path, own), tmp_path / "out", Share(number, 2)).failed
        made.append({cell.name for cell in (tmp_path / "out" / "cells").iterdir()})
        assert not (tmp_path / "out" / "cells.csv").exists()
    assert len(made[0]) == 2 and made[1] == names
    capsys.readouterr()
    assert run_sweep(config_of(tmp_path, own), tmp_path / "out").finished == 3
    assert "cell " not in capsys.readouterr().out
    assert set(pandas.read_csv(tmp_path / "out" / "cells.csv").cell) == names


def test_every_cell_has_a_recording_of_its_own_where_the_report_finds_it(tmp_path, small):
    steps = tmp_path / "steps"
    own = {**small, "model_args": {**small["model_args"], "record_steps": str(steps)}, "tasks": ["pens"]}
    config = config_of(tmp_path, {**own, "grid": [{"sampler": "fixed_k", "k": [16, 8], "gen_length": 16}]})
    assert not run_sweep(config, tmp_path / "out").failed
    for cell in config.cells(lambda options: False):
        rows = read_steps(steps / cell.name)
        assert {row.nfe for row in rows} == {16 // cell.options["k"]} and len(rows) == config.limit
    found = [folder_of(run) for run in read_folders([tmp_path / "out"]).runs]
    assert sorted(found) == sorted(steps.iterdir())


@pytest.mark.parametrize("share", ["0/2", "3/2", "1/0", "1", "a/b", "1/2/3", ""])
def test_a_share_that_cannot_be_is_one_line(tmp_path, share):
    with pytest.raises(UsageError, match="--share must be"):
        main([str(tmp_path / "no.yaml"), "--output", str(tmp_path / "out"), "--share", share], lambda: None)


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path, written):
    grid = [{"sampler": "fixed_k", "steps": [16, 15], "gen_length": 16, "block_length": 8}]  # 15 and two blocks
    outcome = run_sweep(
        config_of(tmp_path, {**written, "grid": grid, "tasks": ["pens"], "prompts": None}), tmp_path / "o"
    )
    ((name, why),) = outcome.failed.items()
    assert outcome.finished == 1 and "steps=15" in name and "steps must be a multiple" in why
    assert set(pandas.read_csv(tmp_path / "o" / "cells.csv").steps) == {16}


@pytest.fixture(scope="module")
def small(written):
    """Of one cell."""
    grid = [{"sampler": "fixed_k", "k": 16, "gen_length": 16}]
    return {**written, "limit": 2, "grid": grid, "prompts": None, "tasks": ["pens"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small) -> Path:
    """Its folder, when it is done."""
    folder = tmp_path_factory.mktemp("finished")
    run_sweep(config_of(folder, small), folder / "out")
    return folder / "out"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": ["pencils"], "prompts": None}, "tasks: pencils is not known"),
        ({"prompts": {"a": {"pens": "{{colour}}"}}}, "prompts, a: the documents of pens cannot fill in .*colour"),
        ({"prompts": {"a": {"pens": "{% if %}"}}}, "prompts, a: the documents of pens cannot fill in"),
        ({"limit": 1}, "belongs to a sweep with another limit"),
        ({"model_args": {"pretrained": "elsewhere"}}, "belongs to a sweep with another model_args|elsewhere"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_before_any_pass(tmp_path, small, finished, change, words):
    before = contents(finished)
    with pytest.raises(UsageError, match=words) as caught:
        run_sweep(config_of(tmp_path, {**small, **change}), finished)
    assert "\n" not in str(caught.value)
    assert contents(finished) == before


@pytest.mark.slow
def test_folders_that_hold_something_else_are_left_alone(tmp_path, written):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something, and no sweep"):
        run_sweep(config_of(tmp_path, written), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["thesis.txt"]
    (tmp_path / "out" / "thesis.txt").unlink()
    (tmp_path / "out" / "sweep.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        run_sweep(config_of(tmp_path, written), tmp_path / "out")


@pytest.mark.slow
def test_a_damaged_cell_is_told_before_any_pass(tmp_path, small, finished):
    (cell,) = (finished / "cells").iterdir()
    damaged = tmp_path / "out" / "cells" / cell.name
    damaged.mkdir(parents=True)
    (tmp_path / "out" / "sweep.json").write_bytes((finished / "sweep.json").read_bytes())
    grid = [*small["grid"], {"sampler": "fixed_k", "k": 8, "gen_length": 16}]
    with pytest.raises(UsageError, match=f"{re.escape(cell.name)} holds no results .* remove it") as caught:
        run_sweep(config_of(tmp_path, {**small, "grid": grid}), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in damaged.parent.iterdir()] == [cell.name]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["results_*.json", "samples_*.jsonl"])
def test_a_cell_that_a_full_disk_cut_off_is_not_finished(tmp_path, small, monkeypatch, pattern):
    whole = EvaluationTracker.save_results_samples

    def full(self, *arguments, **more):
        whole(self, *arguments, **more)
        for file in Path(self.output_path).rglob(pattern):
            file.write_text(file.read_text()[:-20])

    monkeypatch.setattr(EvaluationTracker, "save_results_samples", full)
    outcome = run_sweep(config_of(tmp_path, small), tmp_path / "out")
    ((name, why),) = outcome.failed.items()
    assert "could not be written" in why and not (tmp_path / "out" / "cells" / name).exists()


@pytest.mark.slow
def test_separators_inside_of_a_text_are_no_ends_of_lines(tmp_path):
    lines = [json.dumps({"resps": [["a\u2028b\x85c\r\n"]]}, ensure_ascii=False)] * 3
    (tmp_path / "samples_pens.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    assert _whole(tmp_path, "samples_*.jsonl", lines=True) == 3


@pytest.mark.slow
def test_what_cannot_be_written_is_one_line(tmp_path, small, finished):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--output .*file/out cannot be written: Not a directory"):
        run_sweep(config_of(tmp_path, small), tmp_path / "file" / "out")
    shutil.copytree(finished, tmp_path / "out")
    (tmp_path / "out" / "cells.csv.part").mkdir()
    with pytest.raises(UsageError, match=r"cells.csv cannot be written: Is a directory"):
        run_sweep(config_of(tmp_path, small), tmp_path / "out")


@pytest.mark.slow
def test_a_sweep_whose_cells_all_fail_says_so(tmp_path, small):
    grid = [{"sampler": "fixed_k", "steps": 15, "gen_length": 16, "block_length": 8}]
    outcome = run_sweep(config_of(tmp_path, {**small, "grid": grid}), tmp_path / "out")
    assert outcome.finished == 0 and len(outcome.failed) == 1
    assert not (tmp_path / "out" / "cells.csv").exists()


def command(tmp_path, output, processes=1):
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    return [
        sys.executable,
        *launcher,
        "-m",
        "lm_eval_mdlm",
        "sweep",
        str(tmp_path / "sweep.yaml"),
        "--output",
        str(output),
    ]


def environment():
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_sweep_that_was_killed_three_times_equals_an_undisturbed_one(tmp_path, written, processes):
    config_of(tmp_path, written)
    started = time.monotonic()
    # Random shots depend on the number of processes in lm_eval, so that the undisturbed run has as many.
    subprocess.run(command(tmp_path, tmp_path / "whole", processes), env=environment(), check=True, capture_output=True)
    seconds, draws = time.monotonic() - started, random.Random(processes)
    for _ in range(3):
        run = subprocess.Popen(
            command(tmp_path, tmp_path / "killed", processes),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(draws.uniform(0.4, 0.9) * seconds)
        kill_with_children(run)
    last = subprocess.run(command(tmp_path, tmp_path / "killed", processes), env=environment(), capture_output=True)
    assert last.returncode == 0, last.stderr.decode()[-2000:]
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_cell_that_one_process_cannot_write_does_not_stop_the_others(tmp_path, small):
    grid = [{"sampler": "fixed_k", "k": [16, 8], "gen_length": 16}]
    first, second = config_of(tmp_path, {**small, "grid": grid}).cells(lambda options: False)
    (tmp_path / "out" / "cells").mkdir(parents=True)
    config = config_of(tmp_path, {**small, "grid": grid})
    (tmp_path / "out" / "sweep.json").write_text(json.dumps(config.identity))
    (tmp_path / "out" / "cells" / f"{first.name}.part").write_text("stands where process 0 wants a folder")
    run = subprocess.run(command(tmp_path, tmp_path / "out", 2), env=environment(), capture_output=True, text=True)
    assert run.stdout.count("1 cells are finished") == 1 and run.stderr.count(f"failed: {first.name}") == 1
    assert set(pandas.read_csv(tmp_path / "out" / "cells.csv").cell) == {second.name}


RAISING = """
import os
calls = []

def raise_once(doc, results):
    calls.append(doc)
    if os.environ["RANK"] == {rank!r} and len(calls) == 1:
        raise ValueError("no number in the text")
    return {{"acc": 1.0}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_task_that_raises_in_one_process_fails_its_cell_in_all_and_the_others_go_on(tmp_path, small, tasks, rank):
    folder = tmp_path / "raising"
    folder.mkdir()
    (folder / "raising.py").write_text(RAISING.format(rank=rank))
    task = yaml.safe_load((Path(tasks) / "pens.yaml").read_text())
    text = yaml.safe_dump({**task, "task": "raising", "metric_list": [{"metric": "acc", "aggregation": "mean"}]})
    (folder / "raising.yaml").write_text(text + "process_results: !function raising.raise_once\n")
    grid = [{"sampler": "fixed_k", "k": [16, 8, 4], "gen_length": 16}]
    own = {**small, "grid": grid, "tasks": ["raising"], "include_path": str(folder), "limit": 3, "prompts": None}
    names = [cell.name for cell in config_of(tmp_path, own).cells(lambda options: False)]
    run = subprocess.run(
        command(tmp_path, tmp_path / "out", 2), env=environment(), capture_output=True, text=True, timeout=300
    )
    assert run.stdout.count("2 cells are finished") == 1
    assert run.stderr.count(f"failed: {names[0]}: ") == 1 and "ValueError: no number in the text" in run.stderr
    assert run.returncode != 0
    assert set(pandas.read_csv(tmp_path / "out" / "cells.csv").cell) == {*names} - {names[0]}


@pytest.mark.slow
def test_the_command_exits_with_1_where_a_cell_failed(tmp_path, written):
    grid = [{"sampler": "fixed_k", "steps": [16, 15], "gen_length": 16, "block_length": 8}]
    config_of(tmp_path, {**written, "grid": grid, "tasks": ["pens"], "prompts": None})
    done = subprocess.run(command(tmp_path, tmp_path / "out"), env=environment(), capture_output=True, text=True)
    assert (
        done.returncode == 1
        and "1 cells are finished" in done.stdout
        and "failed: block_length=8+gen_length=16+sampler=fixed_k+steps=15" in done.stderr
    )
