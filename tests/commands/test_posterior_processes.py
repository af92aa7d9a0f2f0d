"""The command itself: in two processes, killed and started again, interrupted, and from the shell."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands.traces import lines_of, posterior


ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
LAUNCHER = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--rdzv_backend=c10d"]
LAUNCHER += ["--rdzv_endpoint=localhost:0"]


def command(checkpoint, tasks, output, *more, launcher=(), task="pens"):
    arguments = ["posterior", "--model_args", f"pretrained={checkpoint}", "--tasks", task, "--output", str(output)]
    arguments += ["--include_path", str(tasks), "--device", "cpu", *more]
    return [sys.executable, *launcher, "-m", "lm_eval_mdlm", *arguments]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments, **options), env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_two_processes_write_the_lines_of_one(tasks, checkpoint, tmp_path):
    more = ["--gen_kwargs", "temperature=1,seed=5", "--num_traces", "2", "--limit", "9", "--batch_size", "2"]
    done = run(checkpoint, tasks, tmp_path / "two.jsonl", *more, launcher=LAUNCHER)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("18 traces of 9 documents of pens") == 1
    options = {"gen_kwargs": ["temperature=1,seed=5"], "num_traces": 2, "limit": 9}
    posterior(tasks, checkpoint, tmp_path / "one.jsonl", **options)
    assert (tmp_path / "two.jsonl").read_text() == (tmp_path / "one.jsonl").read_text()


@pytest.mark.slow
def test_mistake_is_one_line_and_an_exit_code(tasks, checkpoint, tmp_path):
    template = json.dumps({"template": [{"reasoning": 4}, {"answer": 1}]})
    done = run(checkpoint, tasks, tmp_path / "a.jsonl", "--gen_kwargs", template)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("lm_eval_mdlm: error:")]
    assert "do not fit the template's answer segment" in line
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """Files in GSM8K's format."""
    folder = tmp_path_factory.mktemp("gsm8k")
    for name, number in {"train": 120, "test": 2}.items():
        rows = [
            {
                "question": f"Tom has {i} boxes of {i % 7 + 2} eggs and eats {i % 3}. How many eggs has he?",
                "answer": f"He has {i} * {i % 7 + 2} eggs.\n#### {1000 + i * (i % 7 + 2):,}",
            }
            for i in range(number)
        ]
        (folder / f"gsm8k_{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def recorded(journal):
    return sum(file.read_bytes().count(b"\n") for file in journal.glob("*")) if journal.is_dir() else 0


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), LAUNCHER], ids=["one", "two"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again_writes_what_an_undisturbed_run_does(checkpoint, problems, tmp_path, number, launcher):
    more = ["--metadata", json.dumps({"data_dir": str(problems)}), "--limit", "100", "--batch_size", "4"]
    more += ["--gen_kwargs", '{"gen_length": 42, "temperature": 1}', "--journal", str(tmp_path / "journal")]
    output = tmp_path / "traces.jsonl"
    asked = command(checkpoint, tmp_path, output, *more, launcher=launcher, task="gsm8k_mdlm")
    process = subprocess.Popen(asked, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 200
    while recorded(tmp_path / "journal") < 30 and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(0.02)
    os.killpg(process.pid, number)
    assert process.communicate(timeout=60) and process.returncode != 0
    assert not output.exists() and 30 <= recorded(tmp_path / "journal") < 200

    done = subprocess.run(asked, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    undisturbed = tmp_path / "undisturbed.jsonl"
    fresh = [*more[:-1], str(tmp_path / "other journal")]
    assert run(checkpoint, tmp_path, undisturbed, *fresh, task="gsm8k_mdlm").returncode == 0
    assert output.read_text() == undisturbed.read_text()
    lines = lines_of(output)
    assert [line["doc_id"] for line in lines] == list(range(100))
    assert [line["answer"] for line in lines] == [str(1000 + i * (i % 7 + 2)) for i in range(100)]
