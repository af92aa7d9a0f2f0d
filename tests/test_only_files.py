"""A pipe or a device where a file is expected is told in one line, by every reader: none waits for it."""

import os
import signal
from pathlib import Path

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.files import only_a_file
from lm_eval_mdlm.harness.doctor.comparing import compare
from lm_eval_mdlm.harness.doctor.estimate import Estimate
from lm_eval_mdlm.harness.frequencies import _pieces
from lm_eval_mdlm.harness.judging import _texts
from lm_eval_mdlm.harness.kept_file import check_kept_file
from lm_eval_mdlm.harness.plain_yaml import read_yaml
from lm_eval_mdlm.options.frequencies import read_frequencies
from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.samples import read_samples
from lm_eval_mdlm.running.journal import Journal
from lm_eval_mdlm.running.output import check_output
from lm_eval_mdlm.traces.trace import read_traces
from lm_eval_mdlm.training.examples import read_examples


READERS = {
    "results_2026-11-28T18-32-14.522400.json": lambda path: read_folders([path.parent]),
    "samples.jsonl": read_samples,
    "a.mdlm-journal": lambda path: Journal.open(path.parent),
    "a.steps.jsonl.gz": lambda path: read_steps(path.parent),
    "traces.jsonl": read_traces,
    "examples.jsonl": read_examples,
    "counts.json": lambda path: read_frequencies(str(path)),
    "text.txt": lambda path: list(_pieces(path)),
    "sweep.yaml": read_yaml,
    "estimate.json": Estimate.read,
    "run.json": lambda path: compare(path, path),
    "prompt.txt": lambda path: _texts([], path),
    "kept.json": lambda path: check_kept_file(path, "kind"),
    "output.jsonl": check_output,
}


@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_a_pipe(tmp_path, name):
    os.mkfifo(tmp_path / name)
    before = signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        with pytest.raises(UsageError) as caught:
            READERS[name](tmp_path / name)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert name in str(caught.value)


def _too_late(*_: object) -> None:
    raise AssertionError("it waits for the pipe")


def test_files_and_links_to_them_are_let_through_and_devices_are_not(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert only_a_file(tmp_path / "b") == tmp_path / "b"
    with pytest.raises(OSError, match="a pipe or a device"):
        only_a_file(Path(os.devnull))
    with pytest.raises(FileNotFoundError):
        only_a_file(tmp_path / "c")
