"""`gold_score` under lm_eval's own evaluator: what is read, where it stands, and what cannot have it."""

import json
import logging
import math
import statistics

import pytest
import torch

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.model import MDLM
from tests.harness.conftest import QUESTIONS
from tests.harness.running import evaluate, outcomes
from tests.harness.test_documents import lines_of, templated, write_task
from tests.harness.test_processes import launch


TEMPLATE = [{"reasoning": 12}, {"text": "\nThe answer is "}, {"answer": 4}]
SEGMENTS = templated(*TEMPLATE)
NAMED = {"version": 1.0, "gold_answer": "{{ answer | int + 10 }}"}
MED = {"sampler": "med", "entropy_threshold": 1.0}


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="lm_eval.mdlm")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "lm_eval.mdlm"]


def in_one_pass(backbone, prompt: str, gold: str) -> float:
    """Of the gold tokens and the end behind them, with all else but the fixed text masked; from the logits alone."""
    encode = lambda text: backbone.tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
    fixed = encode(TEMPLATE[1]["text"])
    mask, end = backbone.mask_token_id, backbone.end_token_ids[0]
    canvas = [*backbone.tokenizer.encode(prompt), *[mask] * 12, *fixed, *[mask] * 4]
    (logits,) = backbone.logits([torch.tensor(canvas)])
    logits = logits.double()
    logits[:, mask] = -math.inf
    wanted = [*encode(gold), end][:4]
    return sum(logits[len(canvas) - 4 + i].log_softmax(-1)[token].item() for i, token in enumerate(wanted))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [({}, ["1", "2", "3"]), ({"metadata": NAMED}, ["11", "12", "13"])],
    ids=["target", "named"],
)
def test_score_of_an_exit_at_the_first_pass_is_read_from_that_pass(checkpoint, tmp_path, metadata, expected):
    tasks = write_task(tmp_path, **SEGMENTS, **metadata)
    results = evaluate(checkpoint, tasks, ["infill"], gen_length=None, gold_score=True, exit_threshold=1e9)
    backbone, scores = load_backbone(checkpoint, device="cpu"), []
    for line, gold in zip(lines_of(results), expected, strict=True):
        scores.append(in_one_pass(backbone, line["arguments"][0][0], gold))
        assert line["gold_logprob"] == pytest.approx(scores[-1], abs=1e-4)
        assert line["arguments"][0][1]["gold_answer"] == gold
    table = results["results"]["infill"]
    assert table["gold_logprob,strict"] == pytest.approx(statistics.fmean(scores), abs=1e-4)
    assert table["gold_logprob_stderr,strict"] > 0
    assert results["higher_is_better"]["infill"]["gold_logprob"] is True
    assert results["config"]["mdlm"]["decoding_by_task"]["infill"]["gold_score"] is True


def scores(results, task="pens_template"):
    return {line["doc_id"]: line["gold_logprob"] for line in results["samples"][task]}


def test_it_changes_no_text_and_no_count_and_depends_on_no_batch(checkpoint, tasks):
    plain = evaluate(checkpoint, tasks, ["pens_template"], **MED)
    ours = evaluate(checkpoint, tasks, ["pens_template"], gold_score=True, **MED)
    assert outcomes(ours, "pens_template") == outcomes(plain, "pens_template")
    assert "gold_logprob" not in plain["samples"]["pens_template"][0]
    for way in ({"run_batch_size": 5}, {"run_batch_size": "auto"}):
        other = evaluate(checkpoint, tasks, ["pens_template"], gold_score=True, **MED, **way)
        assert scores(other) == scores(ours)
    by_request = evaluate(checkpoint, tasks, ["pens_template"], gen_kwargs={"gold_score": "True"}, **MED)
    assert scores(by_request) == scores(ours) and len(set(scores(ours).values())) == len(QUESTIONS)


@pytest.mark.parametrize("kind", ["run_use_cache", "journal"])
def test_stored_results_have_their_scores_and_those_without_are_not_taken_for_them(checkpoint, tasks, tmp_path, kind):
    place = {kind: str(tmp_path / "kept")}
    first, again = (evaluate(checkpoint, tasks, ["pens_template"], gold_score=True, **MED, **place) for _ in range(2))
    assert again["results"] == first["results"] and scores(again) == scores(first)
    taken = "from_journal" if kind == "journal" else "from_cache"
    assert again["config"]["mdlm"]["totals_of_rank_0"][taken] == len(QUESTIONS)
    if kind == "journal":
        without = evaluate(checkpoint, tasks, ["pens_template"], **MED, **place)
        assert without["config"]["mdlm"]["totals_of_rank_0"]["from_journal"] == 0
    else:
        with pytest.raises(UsageError, match="holds results of gold_score=true, this run has false"):
            evaluate(checkpoint, tasks, ["pens_template"], **MED, **place)


def test_equal_prompts_with_different_golds_are_scored_each_by_its_own(checkpoint, tmp_path):
    tasks = write_task(tmp_path, **SEGMENTS)  # two documents ask the same
    options = {"gen_length": None, "gold_score": True, "run_use_cache": str(tmp_path / "cache")}
    first, second = (scores(evaluate(checkpoint, tasks, ["infill"], **options), "infill") for _ in range(2))
    assert first == second and first[1] != first[2]


def test_samples_of_a_document_report_their_mean(checkpoint, tmp_path):
    tasks = write_task(tmp_path, **SEGMENTS, repeats=3)
    options = {"gen_length": None, "gold_score": True, "temperature": 1.0}
    mean = scores(evaluate(checkpoint, tasks, ["infill"], **options), "infill")
    path = tmp_path / "once"
    path.mkdir()
    once = scores(evaluate(checkpoint, write_task(path, **SEGMENTS), ["infill"], **options), "infill")
    assert all(math.isfinite(value) for value in mean.values()) and mean != once


DOCUMENTS = [
    {"question": "One?", "answer": "1", "gold": "1"},
    {"question": "Two?", "answer": "2", "gold": "eleven hundred and one"},
    {"question": "Three?", "answer": "3", "gold": "  "},
    {"question": "Four?", "answer": "4", "gold": "4"},
]


def test_golds_that_cannot_be_scored_are_counted_and_left_out_of_the_mean(checkpoint, tmp_path, said):
    tasks = write_task(tmp_path, DOCUMENTS, **SEGMENTS, metadata={"version": 1.0, "gold_answer": "{{gold}}"})
    results = evaluate(checkpoint, tasks, ["infill"], gen_length=None, gold_score=True)
    lines = lines_of(results)
    assert ["gold_logprob" in line for line in lines] == [True, False, False, True]
    mean = statistics.fmean(line["gold_logprob"] for line in (lines[0], lines[3]))
    assert results["results"]["infill"]["gold_logprob,strict"] == pytest.approx(mean)
    assert [line for line in said() if "gold" in line] == [
        "gold_score: 1 of 4 requests have a gold answer that is longer than its segment, and no gold_logprob.",
        "gold_score: 1 of 4 requests have no gold answer, and no gold_logprob.",
    ]


def test_tasks_without_an_answer_segment_say_so_or_refuse(checkpoint, tasks, said):
    results = evaluate(checkpoint, tasks, ["pens", "pens_template"], gold_score=True, **MED)
    assert "gold_logprob" not in results["samples"]["pens"][0] and scores(results)
    assert any("gold_score=True in --model_args has no effect on tasks without" in line for line in said())
    with pytest.raises(UsageError, match="pens: gold_score=True needs a template with exactly one answer segment"):
        evaluate(checkpoint, tasks, ["pens"], gen_kwargs={"gold_score": True})
    two = {"template": [{"answer": 2}, {"reasoning": 4}, {"answer": 2}], "gold_score": True}
    with pytest.raises(UsageError, match="exactly one answer segment"):
        evaluate(checkpoint, tasks, ["pens"], gen_kwargs=two)


def test_golds_that_are_not_a_document_s_are_refused(checkpoint, tasks, tmp_path):
    with pytest.raises(UsageError, match="gold_answer belongs to a document and cannot stand in --gen_kwargs"):
        evaluate(checkpoint, tasks, ["pens_template"], gen_kwargs={"gold_answer": "1"}, gold_score=True)
    broken = write_task(tmp_path, **SEGMENTS, metadata={"version": 1.0, "gold_answer": "{{ answer.x.y }}"})
    with pytest.raises(UsageError, match="infill: metadata gold_answer .* cannot be filled in"):
        evaluate(checkpoint, broken, ["infill"], gen_length=None, gold_score=True)
    with pytest.raises(UsageError, match="gold_score must be True or False"):
        MDLM(checkpoint, device="cpu", gold_score="maybe")


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one_and_one_without_any_does_not_end_the_run(checkpoint, tmp_path):
    # Of two processes one has the documents with even numbers.
    documents = [{**doc, "gold": doc["answer"] if i % 2 else ""} for i, doc in enumerate(DOCUMENTS)]
    more = {**SEGMENTS, "task": "pens_template", "metadata": {"version": 1.0, "gold_answer": "{{gold}}"}}
    tasks = write_task(tmp_path, documents, **more)
    done = launch(checkpoint, tasks, tmp_path, "--gen_kwargs", "gold_score=True")
    assert done.returncode == 0, done.stderr[-3000:]
    (results,), (samples,) = tmp_path.rglob("results_*.json"), tmp_path.rglob("samples_*.jsonl")
    two = {"samples": {"pens_template": [json.loads(line) for line in samples.read_text().splitlines()]}}
    one = evaluate(checkpoint, tasks, ["pens_template"], gold_score=True, exit_threshold=6, **MED)
    expected = {line["doc_id"]: line.get("gold_logprob") for line in one["samples"]["pens_template"]}
    assert {doc: score for doc, score in scores(two).items() if doc % 2} == {doc: expected[doc] for doc in (1, 3)}
    assert expected[0] is None and math.isnan(scores(two)[0])
    table = json.loads(results.read_text())["results"]["pens_template"]
    assert math.isnan(float(table["gold_logprob,strict"])) and table["nfe,strict"] > 0
