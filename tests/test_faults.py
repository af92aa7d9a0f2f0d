"""Faults of machines and disks, met by the commands as a user starts them: what is said is what docs/faults.md says."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.conftest import QUESTIONS, STOCK_LIKE
from tests.killing import children
from tests.tiny import make_checkpoint
from tests.training.running import LINES, TEMPLATE, write_lines


ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A checkpoint, the tasks `pens` and `filled`, a sweep, lines to train on."""
    folder = tmp_path_factory.mktemp("inputs")
    make_checkpoint(folder / "checkpoint", "llada")
    rows = [{"question": q, "answer": str(i)} for i, q in enumerate(QUESTIONS)]
    write_lines(folder / "test.jsonl", rows)
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}}}
    template = [{"reasoning": 12}, {"text": "\nThe answer is "}, {"answer": 4}]
    for name, options in {"pens": {"until": ["Question:"]}, "filled": {"until": [], "template": template}}.items():
        task = {**STOCK_LIKE, **data, "task": name, "generation_kwargs": options}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    sweep = {"model_args": {"pretrained": str(folder / "checkpoint")}, "tasks": ["pens"], "include_path": str(folder)}
    sweep |= {"device": "cpu", "grid": [{"sampler": "fixed_k", "k": [1, 2], "gen_length": 64, "block_length": 64}]}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    write_lines(folder / "train.jsonl", LINES * 4)
    return folder


@pytest.fixture
def disk(tmp_path) -> Iterator[Any]:
    """Mounts a small disk; `disk(kilobytes)` gives its folder, `disk.read_only()` seals the newest."""
    mounted: list[Path] = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        size = f"size={kilobytes}k"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("mounting needs root")
        mounted.append(folder)
        return folder

    mount.read_only = lambda: subprocess.run(["mount", "-o", "remount,ro", mounted[-1]], check=True)  # type: ignore[attr-defined]
    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def environment(**more: str) -> dict[str, str]:
    own = {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return {**os.environ, **own, **more}


def evaluation(inputs: Path, output: Path, *options: str, task: str = "pens", length: int = 64) -> list[str]:
    args = ",".join([f"pretrained={inputs / 'checkpoint'}", f"gen_length={length}", "block_length=16", *options])
    command = ["run", "--model", "mdlm", "--model_args", args, "--tasks", task, "--include_path", str(inputs)]
    return [*command, "--output_path", str(output), "--log_samples", "--batch_size", "2", "--device", "cpu"]


def posterior(inputs: Path, output: Path, *more: str) -> list[str]:
    command = [
        "posterior",
        "--model_args",
        f"pretrained={inputs / 'checkpoint'}",
        "--tasks",
        "filled",
        "--split",
        "test",
    ]
    return [*command, "--include_path", str(inputs), "--output", str(output), "--device", "cpu", *more]


def training(inputs: Path, out: Path, *more: str, steps: int = 400) -> list[str]:
    command = ["finetune", "--data", str(inputs / "train.jsonl"), "--out", str(out), "--template", TEMPLATE, "--cpu"]
    command += ["--pretrained", str(inputs / "checkpoint"), "--precision", "float32", "--save-dtype", "float32"]
    return [*command, "--steps", str(steps), "--batch-size", "4", "--save-every", "2", "--workers", "2", *more]


def command_of(arguments: Sequence[str], processes: int = 1) -> list[str]:
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [sys.executable, "-m", *(launcher if processes > 1 else []), "lm_eval_mdlm", *arguments]


def started(arguments: Sequence[str], processes: int = 1, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command_of(arguments, processes), env=environment(**more), cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def ended(arguments: Sequence[str], **more: str) -> tuple[int, list[str]]:
    """Exit code, and the lines of ours among the errors."""
    process = started(arguments, **more)
    _, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors, errors[-3000:]
    return process.returncode, ours_in(errors)


def ours_in(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("lm_eval_mdlm: ")]


def on_the_page(line: str, *paths: Path) -> bool:
    """Whether docs/faults.md has the line, with DIR in place of its paths."""
    for path in sorted(paths, key=lambda path: -len(str(path))):
        line = line.replace(str(path), "DIR")
    return f"`{line}`" in PAGE or print(line) is not None


# Disks


def test_a_read_only_folder_is_told_before_anything_is_loaded(inputs, disk, tmp_path):
    folder = disk(64)
    disk.read_only()
    for arguments in (
        evaluation(inputs, folder),
        evaluation(inputs, tmp_path / "out", f"journal={folder}"),
        evaluation(inputs, tmp_path / "out", f"record_steps={folder}"),
        ["sweep", str(inputs / "sweep.yaml"), "--output", str(folder)],
        posterior(inputs, folder / "traces.jsonl"),
        training(inputs, folder / "run"),
    ):
        begin = time.monotonic()
        code, lines = ended(arguments)
        assert code == 1 and len(lines) == 1 and on_the_page(lines[0], folder / "run", folder / "traces.jsonl", folder)
        assert time.monotonic() - begin < 120


def test_results_that_a_disk_has_no_room_for_are_told_and_cost_no_pass_again(inputs, disk, tmp_path):
    folder, journal = disk(12), f"journal={tmp_path / 'journal'}"
    code, lines = ended(evaluation(inputs, folder, journal, length=16))
    assert code == 3 and len(lines) == 1 and on_the_page(lines[0], folder)
    code, lines = ended(evaluation(inputs, tmp_path / "out", journal, length=16))
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert (code, lines) == (0, [])
    assert json.loads(results.read_text())["config"]["mdlm"]["totals_of_rank_0"]["from_journal"] == len(QUESTIONS)


def test_a_disk_that_fills_up_in_training_leaves_a_checkpoint_to_go_on_from(inputs, disk, tmp_path):
    assert ended(training(inputs, tmp_path / "run", "--workers", "0", steps=2)) == (0, [])
    one = sum(path.stat().st_size for path in tmp_path.glob("run/checkpoints/*/*")) // 1024
    folder = disk(one * 3 // 2)
    code, lines = ended(training(inputs, folder / "run", "--workers", "0", steps=6))
    assert code == 1 and len(lines) == 1 and on_the_page(lines[0], folder / "run")
    assert [path.parent.name for path in folder.glob("run/checkpoints/*/complete.json")] == ["checkpoint-2"]
    subprocess.run(["mount", "-o", f"remount,size={10 * one}k", folder], check=True)
    code, lines = ended(training(inputs, folder / "run", "--workers", "0", "--resume", steps=6))
    assert (code, lines) == (0, []) and (folder / "run" / "config.json").is_file()


# Signals


def in_session(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, own = stat.read_text().rsplit(")", 1)[1].split()[:4]
            if int(own) == session and state != "Z":
                alive.append(int(stat.parent.name))
    return alive


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("seconds", [0.0, 3.0, 8.0])
@pytest.mark.parametrize("what", ["evaluation", "journal", "sweep", "posterior", "training"])
def test_a_signal_at_any_moment_is_one_line_and_leaves_nobody(inputs, tmp_path, what, seconds, number):
    arguments = {
        "evaluation": evaluation(inputs, tmp_path / "out", length=448),
        "journal": evaluation(inputs, tmp_path / "out", f"journal={tmp_path / 'journal'}", length=448),
        "sweep": ["sweep", str(inputs / "sweep.yaml"), "--output", str(tmp_path / "out")],
        "posterior": posterior(inputs, tmp_path / "out", "--num_traces", "50"),
        "training": training(inputs, tmp_path / "out", steps=4000),
    }[what]
    process = started(arguments)
    wait_until_busy(process.pid, seconds)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    lines = ours_in(errors)
    if process.returncode == 0:
        pytest.skip("it had ended by then")
    assert process.returncode in ((-signal.SIGINT, 130) if number == signal.SIGINT else (143,)), errors[-3000:]
    assert len(lines) == 1 and lines[0].startswith(f"lm_eval_mdlm: stopped by {number.name}") and "Trace" not in errors
    assert on_the_page(lines[0].replace(number.name, "SIGINT"), tmp_path / "journal")
    time.sleep(0.5)
    assert in_session(process.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("what", ["evaluation", "posterior", "training"])
def test_so_it_is_while_the_libraries_are_imported(inputs, tmp_path, what, seconds, number):
    arguments = {
        "evaluation": evaluation(inputs, tmp_path / "out", length=512),
        "posterior": posterior(inputs, tmp_path / "out", "--num_traces", "50"),
        "training": training(inputs, tmp_path / "out", steps=4000),
    }[what]
    process = started(arguments)
    while not catches(process.pid, signal.SIGTERM):
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in ((-signal.SIGINT, 130) if number == signal.SIGINT else (143,)), errors[-3000:]
    (line,) = errors.splitlines()
    assert on_the_page(line.replace(number.name, "SIGINT"))


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), flags=re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def wait_until_busy(pid: int, seconds: float) -> None:
    """Until torch is loaded, which is after our handlers are set; and then so many seconds."""
    while not re.search("libtorch_cpu", Path(f"/proc/{pid}/maps").read_text()):
        time.sleep(0.1)
    time.sleep(2 + seconds)


# Processes


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("what", ["evaluation", "sweep", "posterior", "training"])
def test_the_others_end_within_a_minute_of_a_process_that_is_gone(inputs, tmp_path, what, number):
    out, journal = tmp_path / "out", tmp_path / "journal"
    arguments = {
        "evaluation": evaluation(inputs, out, f"journal={journal}", length=256),
        "sweep": ["sweep", str(inputs / "sweep.yaml"), "--output", str(out)],
        "posterior": posterior(inputs, out, "--num_traces", "20", "--journal", str(journal)),
        "training": training(inputs, out, "--workers", "0"),
    }[what]
    process = started(arguments, 2, LM_EVAL_MDLM_SILENCE_S="5")
    try:
        lost = rank_of(process.pid, 1)
        while not [*tmp_path.rglob("*.mdlm-journal"), *tmp_path.rglob("complete.json")]:
            assert process.poll() is None
            time.sleep(0.1)
        os.kill(lost, number)
        begin = time.monotonic()
        survivor = rank_of(process.pid, 0)
        while Path(f"/proc/{survivor}").exists() and time.monotonic() - begin < 60:
            time.sleep(0.2)
        assert time.monotonic() - begin < 60
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(40)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for own in in_session(process.pid):
            os.kill(own, signal.SIGKILL)
    _, errors = process.communicate()
    if number == signal.SIGSTOP:
        told = [line for line in ours_in(errors) if "process 1 is gone: no sign of life for 5 s" in line]
        assert told and on_the_page(told[0].replace("5 s", "30 s")), errors[-3000:]
    if what in ("evaluation", "posterior"):
        code, _ = ended(arguments)
        assert code == 0


def rank_of(launcher: int, rank: int) -> int:
    """The process of a launcher's that has this rank."""
    while True:
        for own in children(launcher):
            with contextlib.suppress(OSError):
                if f"\0RANK={rank}\0" in "\0" + Path(f"/proc/{own}/environ").read_text():
                    return own
        time.sleep(0.1)
