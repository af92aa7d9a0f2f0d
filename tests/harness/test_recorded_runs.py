"""Evaluations with a recording: who asked stands in it, and results are those of a run without."""

import json

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.recordings.reading import read_steps
from tests.harness.running import evaluate, outcomes
from tests.harness.test_processes import launch


OPTIONS = {"sampler": "med", "entropy_threshold": 1.0, "exit_threshold": 6}


def ascii_of(text: str) -> str:
    return text.encode("ascii", "ignore").decode()


def test_rows_name_their_documents_and_tell_the_counts_of_the_results(checkpoint, tasks, tmp_path):
    names = ["pens_template", "pens"]
    recorded = evaluate(checkpoint, tasks, names, run_limit=5, record_steps=str(tmp_path), **OPTIONS)
    without = evaluate(checkpoint, tasks, names, run_limit=5, **OPTIONS)
    rows = read_steps(tmp_path)
    assert [(row.task, row.doc_id) for row in rows] == [
        (name, i) for name in ("pens", "pens_template") for i in range(5)
    ]
    for name in names:
        assert outcomes(recorded, name) == outcomes(without, name)
        found = {line["doc_id"]: line for line in recorded["samples"][name]}
        for row in rows:
            if row.task == name:
                line = found[row.doc_id]
                assert (row.nfe, row.exit_step or 0) == (line["nfe"], line["exit_step"])
                assert row.options["sampler"] == "med" and row.options["entropy_threshold"] == 1.0
                if "answer_entropy" in line:
                    assert row.answer_entropy[-1] == pytest.approx(line["answer_entropy"])
                if name == "pens":  # a character of several tokens has no text in any of them
                    written = "".join(row.texts[token] for token in row.region_before(row.num_steps))
                    assert ascii_of(written).startswith(ascii_of(line["resps"][0][0]))
    kinds = {row.task: {kind for kind, _, _ in row.segments} for row in rows}
    assert kinds == {"pens": {"reasoning"}, "pens_template": {"reasoning", "text", "answer"}}


@pytest.mark.slow
def test_two_processes_record_every_row_once(checkpoint, tasks, tmp_path, monkeypatch):
    steps = tmp_path / "steps"
    monkeypatch.setattr("tests.harness.test_processes.ARGS", f"pretrained={{}},gen_length=16,record_steps={steps}")
    done = launch(checkpoint, tasks, tmp_path, "--limit", "11")
    assert done.returncode == 0, done.stderr[-3000:]
    (samples,) = tmp_path.rglob("samples_*.jsonl")
    nfe = {(line := json.loads(text))["doc_id"]: line["nfe"] for text in samples.read_text().splitlines()}
    assert {row.doc_id: row.nfe for row in read_steps(steps)} == nfe and len(nfe) == len(read_steps(steps))
    evaluate(checkpoint, tasks, ["pens_template"], run_limit=11, block_length=32, record_steps=str(steps))
    assert len(read_steps(steps)) == 11  # one process makes the same run of it


def test_what_a_cache_answers_cannot_be_recorded(checkpoint, tasks, tmp_path):
    with pytest.raises(UsageError, match="record_steps cannot record rows that --use_cache answers.*journal=DIR"):
        evaluate(
            checkpoint,
            tasks,
            ["pens"],
            record_steps=str(tmp_path / "s"),
            run_use_cache=str(tmp_path / "c"),
            run_limit=2,
        )
