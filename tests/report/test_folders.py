"""What is read of results folders, and what is said of files that cannot be."""

import json
import math

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.reporting import HIGHER_IS_BETTER
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.runs import COUNTS
from tests.report.by_hand import DATE, write_run


def test_counts_are_those_that_the_model_reports():
    assert frozenset(HIGHER_IS_BETTER) == COUNTS


def test_a_run_has_scores_counts_and_texts_by_task_and_filter(tmp_path):
    write_run(
        tmp_path / "med", {"strict": [0, 1, 0], "flexible": [1, 1, 0]}, nfe=[3.0, 4.0, 8.0], texts=["a", "b", "c"]
    )
    found = read_folders([tmp_path])
    (run,) = found.runs
    assert found.skipped == () and run.name == "med"
    strict, flexible = run.outcomes
    assert (strict.filter, flexible.filter) == ("strict", "flexible")
    assert list(strict.scores.values()) == [0, 1, 0] and list(flexible.scores.values()) == [1, 1, 0]
    assert strict.nfe == 5.0 and strict.count("nfe") == [3.0, 4.0, 8.0]
    assert [one.texts for one in strict.samples] == [("a",), ("b",), ("c",)]
    assert strict.samples[1].readings == ("reading 1",)
    assert strict.samples[1].question == "{{question}} document 1"


def test_runs_are_named_by_the_shortest_path_that_tells_them_apart(tmp_path):
    for folder in ("a/med", "b/med", "b/k16", "b/k4"):
        write_run(tmp_path / folder, [1, 0])
    # Numbers in names stand in their order, not in that of their digits.
    assert [run.name for run in read_folders([tmp_path]).runs] == ["a/med", "k4", "k16", "b/med"]


def test_runs_of_one_folder_are_told_apart_by_their_dates_and_keep_their_own_samples(tmp_path):
    later = "2026-11-29T00-00-00"
    write_run(tmp_path / "med", [1, 0])
    write_run(tmp_path / "med", [0, 0], date=later)
    runs = read_folders([tmp_path / "med"]).runs
    assert [run.name for run in runs] == [f"med {DATE}", f"med {later}"]
    assert [list(run.outcomes[0].scores.values()) for run in runs] == [[1, 0], [0, 0]]


def test_a_folder_named_twice_is_one_run(tmp_path):
    write_run(tmp_path / "med", [1, 0])
    assert len(read_folders([tmp_path, tmp_path / "med"]).runs) == 1


def test_a_run_without_samples_keeps_its_reported_score(tmp_path):
    write_run(tmp_path / "med", [1, 0, 0, 0], keep_samples=False)
    (outcomes,) = read_folders([tmp_path]).runs[0].outcomes
    assert outcomes.samples == () and outcomes.mean == 0.25 and outcomes.nfe == 8.0


def test_equal_documents_are_told_apart_by_their_place(tmp_path):
    write_run(tmp_path / "med", [1, 0, 0], documents=["same", "other", "same"])
    (outcomes,) = read_folders([tmp_path]).runs[0].outcomes
    assert list(outcomes.scores) == [("hash of same", 0), ("hash of other", 0), ("hash of same", 1)]


def test_results_that_cannot_be_read_are_skipped_with_a_line_each(tmp_path):
    write_run(tmp_path / "good", [1, 0])
    broken = write_run(tmp_path / "broken", [1, 0])
    broken.write_text(broken.read_text()[:-9])
    other = write_run(tmp_path / "other", [1, 0])
    other.write_text(json.dumps({"results": []}))
    found = read_folders([tmp_path])
    assert [run.name for run in found.runs] == ["good"]
    assert len(found.skipped) == 2
    assert all(str(path) in line for path, line in zip((broken, other), found.skipped, strict=True))


def test_a_samples_file_that_was_cut_is_named_with_its_line_and_its_run_keeps_its_score(tmp_path):
    path = write_run(tmp_path / "med", [1, 0])
    samples = next(path.parent.glob("samples_*"))
    samples.write_text(samples.read_text()[:-20])
    found = read_folders([tmp_path])
    (line,) = found.skipped
    assert str(samples) in line and "line 2" in line and "\n" not in line
    assert found.runs[0].outcomes[0].mean == 0.5 and found.runs[0].outcomes[0].samples == ()


@pytest.mark.parametrize("line", ["[]", "{}", '{"doc_id": 1, "arguments": []}', "7"])
def test_a_line_that_is_no_sample_is_named(tmp_path, line):
    path = write_run(tmp_path / "med", [1, 0])
    samples = next(path.parent.glob("samples_*"))
    samples.write_text(samples.read_text() + line + "\n")
    (said,) = read_folders([tmp_path]).skipped
    assert "line 3" in said


@pytest.mark.parametrize("listed", [[{"metric": "ppl"}, {"metric": "acc"}], [{"metric": "def scored(items): ..."}], []])
def test_the_metric_is_the_tasks_first_that_documents_have_numbers_for(tmp_path, listed):
    path = write_run(tmp_path, [1, 0])
    plain = json.loads(path.read_text())
    plain["configs"]["sums"]["metric_list"] = listed
    first = {"alias": "sums", "nfe,none": 8.0, "ppl_stderr,none": 0.1, "ppl,none": 3.0}
    plain["results"]["sums"] = {**first, **plain["results"]["sums"]}
    path.write_text(json.dumps(plain))
    (outcomes,) = read_folders([tmp_path]).runs[0].outcomes
    assert outcomes.metric == "acc" and outcomes.metrics == {"ppl": 3.0, "acc": 0.5}


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1e200, 10**400], ids=lambda score: str(score)[:6])
def test_a_score_that_cannot_be_counted_with_is_named_and_no_other_run_suffers(tmp_path, score):
    for name in ("good", "kept", "lost", "half"):
        path = write_run(tmp_path / name, [1, 0], gen_kwargs={"way": name}, keep_samples=name != "lost")
        plain = json.loads(path.read_text())
        if name == "half":  # a second task, and only that has no score
            plain["configs"]["words"], plain["results"]["words"] = {"task": "words"}, {"acc,none": score}
        elif name != "good":
            plain["results"]["sums"]["acc,none"] = score
        if name == "kept":
            samples = next(path.parent.glob("samples_*"))
            first, second = map(json.loads, samples.read_text().splitlines())
            samples.write_text(f"{json.dumps(first)}\n{json.dumps({**second, 'acc': score})}\n")
        path.write_text(json.dumps(plain))
    found = read_folders([tmp_path])
    assert [run.name for run in found.runs] == ["good", "half"]
    assert [outcomes.task for run in found.runs for outcomes in run.outcomes] == ["sums", "sums"]
    (words,) = [line for line in found.skipped if "half" in line]
    assert "words" in words and sorted("kept" in line for line in found.skipped if line != words) == [False, True]


@pytest.mark.parametrize("which", ["results", "samples"])
def test_files_of_nothing_but_brackets_are_skipped_with_a_line(tmp_path, which):
    write_run(tmp_path / "good", [1, 0])
    path = write_run(tmp_path / "deep", [1, 0])
    (path if which == "results" else next(path.parent.glob("samples_*"))).write_text("[" * 100_000)
    (line,) = read_folders([tmp_path]).skipped
    assert "deep" in line and "\n" not in line


def test_a_cell_that_its_sweep_has_not_finished_is_skipped_with_a_line(tmp_path):
    write_run(tmp_path / "cells" / "a", [1, 0])
    write_run(tmp_path / "cells" / "b.part", [1, 0])
    found = read_folders([tmp_path])
    assert [run.name for run in found.runs] == ["a"]
    (line,) = found.skipped
    assert "b.part" in line and "not finished" in line


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no results of lm_eval"):
        read_folders([tmp_path])
    with pytest.raises(UsageError, match="no such folder"):
        read_folders([tmp_path / "absent"])


def test_options_of_older_files_are_read_from_their_text(tmp_path):
    write_run(tmp_path / "med", [1], config={"model_args": "pretrained=demo,seed=3", "gen_kwargs": None})
    (run,) = read_folders([tmp_path]).runs
    assert run.model_args == {"pretrained": "demo", "seed": "3"} and run.gen_kwargs == {}


def test_choices_of_a_multiple_choice_document_stand_with_their_likelihoods(tmp_path):
    path = write_run(tmp_path / "hf", [1.0], nfe=None)
    samples = next(path.parent.glob("samples_*"))
    line = json.loads(samples.read_text())
    line["arguments"] = {f"gen_args_{i}": {"arg_0": "Q", "arg_1": choice} for i, choice in enumerate((" yes", " no"))}
    line["resps"] = [[["-1.5", "False"]], [["-2.5", "False"]]]
    samples.write_text(json.dumps(line))
    (sample,) = read_folders([tmp_path]).runs[0].outcomes[0].samples
    assert sample.texts[0].startswith(" yes") and "-1.5" in sample.texts[0]
    assert len(sample.texts) == 2
