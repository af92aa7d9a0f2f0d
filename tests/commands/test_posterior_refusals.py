"""What `posterior` refuses: in one line, and wherever possible before the checkpoint is loaded."""

import json
import shutil
from unittest import mock

import pytest
from lm_eval.evaluator import simple_evaluate
from tokenizers import Tokenizer

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness import model as model_module
from tests.commands.traces import NUM_DOCUMENTS, document, lines_of, manager_of, posterior


def refused(tasks, checkpoint, output, message, **options):
    """It is, before the first pass."""
    never = mock.patch.object(model_module, "answer_all", side_effect=AssertionError("decoding began"))
    with never, pytest.raises(UsageError, match=message) as caught:
        posterior(tasks, checkpoint, output, **options)
    assert "\n" not in str(caught.value) and not list(output.parent.glob("*.partial"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "free"}, "free has no template, so there is no place for a given answer; add one with --gen_kwargs"),
        ({"gen_kwargs": ['{"template": null}']}, "pens has no template"),
        ({"gen_kwargs": ["template=null"]}, "pens has no template"),
        ({"task": "no_answer"}, "no_answer: .* needs exactly one answer segment .* this one has 0"),
        ({"task": "two_answers"}, "two_answers: .* needs exactly one answer segment .* this one has 2"),
        ({"task": "no_reasoning"}, "no_reasoning: .* needs at least one reasoning segment .* this one has 0"),
        ({"task": "no_gold"}, r"no_gold: 2 of 20 documents have no gold answer \(0, 1\); name it in the task's YAML"),
        ({"task": "bad_gold"}, "bad_gold: metadata gold_answer '.*nonsense.*' cannot be filled in .* thing, question"),
        ({"task": "choice"}, "--tasks choice generates no text"),
        ({"task": "pen"}, "--tasks pen is not known; did you mean pens?"),
        ({"task": "test_only"}, "test_only has no split for --split train; it has --split test"),
        ({"split": "validation"}, "pens has no split for --split validation; it has --split train, --split test"),
        ({"gen_kwargs": ["temperature"]}, "--gen_kwargs must be name=value,name=value or a JSON object"),
        ({"gen_kwargs": ["{x}"]}, "--gen_kwargs is not valid JSON"),
        ({"journal": "a", "model_args": ["journal=b"]}, "--journal a and journal=b in --model_args differ"),
    ],
    ids=str,
)
def test_before_the_checkpoint_is_loaded(tasks, tmp_path, options, message):
    refused(tasks, "no/such/checkpoint", tmp_path / "a.jsonl", message, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gen_kwargs": ["exit_threshold=0.1"]}, "pens, document 0: exit_threshold=0.1 has no answer to watch"),
        ({"gen_kwargs": ["sampler=best"]}, "pens: sampler must be one of"),
        ({"gen_kwargs": ["gen_length=6"]}, "pens: gen_length=6 leaves 0 masks"),
    ],
    ids=str,
)
def test_before_the_first_pass(tasks, checkpoint, tmp_path, options, message):
    refused(tasks, checkpoint, tmp_path / "a.jsonl", message, **options)


def short_segment(length):
    template = [{"reasoning": 4}, {"text": "\nThe answer is "}, {"answer": length}]
    return [json.dumps({"template": template})]


@pytest.fixture(scope="module")
def lengths(checkpoint):
    """Tokens of the first answers, by the tokenizer's own library."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    return [len(tokenizer.encode(document("train", i)["answer"].partition("#")[2]).ids) for i in range(12)]


def test_answers_that_do_not_fit_are_counted_and_listed(tasks, checkpoint, tmp_path, lengths):
    options = {"gen_kwargs": short_segment(3), "limit": 12}
    long = [i for i in range(12) if lengths[i] > 3]
    listed = ", ".join(f"{i} \\({lengths[i]} tokens for 3\\)" for i in long)
    message = f"pens: the answers of {len(long)} of 12 documents do not fit .* answer segment: {listed}; make"
    assert 0 < len(long) < 12
    refused(tasks, checkpoint, tmp_path / "a.jsonl", message, **options)
    assert not list(tmp_path.iterdir())
    refused(tasks, checkpoint, tmp_path / "a.jsonl", "12 of 12", **{**options, "gen_kwargs": short_segment(1)},
            skip_long=True)  # fmt: skip


def test_answers_that_do_not_fit_are_left_out_on_request(tasks, checkpoint, tmp_path, lengths, caplog):
    output = tmp_path / "a.jsonl"
    summary = posterior(tasks, checkpoint, output, gen_kwargs=short_segment(3), limit=12, skip_long=True)
    fitting = [i for i in range(12) if lengths[i] <= 3]
    assert [line["doc_id"] for line in lines_of(output)] == fitting
    assert f"{len(fitting)} traces of {len(fitting)} documents of pens, {12 - len(fitting)} left out" in summary
    assert sum("they are left out" in record.getMessage() for record in caplog.records) == 1


class TestOutput:
    def test_place_must_be_there(self, tasks, tmp_path):
        refused(tasks, "none", tmp_path / "no" / "a.jsonl", "--output .* does not exist; make it")
        refused(tasks, "none", tmp_path, "--output .* is a folder; name a file")

    @pytest.mark.parametrize("text", ["", "notes\n", '{"prompt": "p"}\n', '{"run": "a"}\n{"run": "b"}\n', "[1]\n"])
    def test_file_of_something_else_is_left_alone(self, tasks, tmp_path, text):
        (tmp_path / "a.jsonl").write_text(text)
        refused(tasks, "none", tmp_path / "a.jsonl", "--output .* was not written by this command")
        assert (tmp_path / "a.jsonl").read_text() == text

    @pytest.mark.parametrize(
        "other",
        [{"limit": 2}, {"num_traces": 2}, {"split": "test"}, {"gen_kwargs": ["k=2"]}, {"num_fewshot": 1}],
        ids=str,
    )
    def test_file_of_another_run_is_refused_and_of_the_same_run_left_as_it_is(self, tasks, checkpoint, tmp_path, other):
        output = tmp_path / "a.jsonl"
        posterior(tasks, checkpoint, output, limit=3)
        before = output.read_text()
        refused(tasks, checkpoint, output, "--output .* belongs to another run, by the digest", **{"limit": 3, **other})
        assert output.read_text() == before
        with mock.patch.object(model_module, "answer_all", side_effect=AssertionError("decoding began")):
            summary = posterior(tasks, checkpoint, output, limit=3, batch_size="2")
        assert summary.endswith("3 traces of 3 documents of pens; was complete already")
        output.write_text("".join(before.splitlines(keepends=True)[:2]))
        refused(tasks, checkpoint, output, "belongs to another run", limit=3)

    def test_file_of_another_checkpoint_is_refused(self, tasks, checkpoint, checkpoints, tmp_path):
        posterior(tasks, checkpoint, tmp_path / "a.jsonl", limit=1)
        refused(tasks, checkpoints["dream"], tmp_path / "a.jsonl", "belongs to another run", limit=1)


@pytest.fixture(scope="module")
def samples(tasks, checkpoint, tmp_path_factory):
    """Samples of `pens_on_train`, by the harness's own name for them."""
    results = simple_evaluate(
        model="mdlm",
        model_args={"pretrained": str(checkpoint), "device": "cpu", "gen_length": 8},
        tasks=["pens_on_train"],
        task_manager=manager_of(tasks),
        bootstrap_iters=0,
    )
    path = tmp_path_factory.mktemp("samples") / "samples_pens_on_train_2026-11-28T16-00-00.123456.jsonl"
    lines = sorted(results["samples"]["pens_on_train"], key=lambda line: -line["doc_id"])
    write(path, [line | {"acc": float(line["doc_id"] % 3 == 0)} for line in lines])
    return path


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_only_failed_documents_of_all_given_files(tasks, checkpoint, tmp_path, samples):
    lines = lines_of(samples)
    other = write(tmp_path / "more.jsonl", [line | {"acc": float(line["doc_id"] == 1)} for line in lines[10:]])
    options = {"task": "pens_on_train", "gen_kwargs": ["gen_length=8"]}
    posterior(tasks, checkpoint, tmp_path / "a.jsonl", only_failed=[samples, other], **options)
    failed = [i for i in range(NUM_DOCUMENTS) if i % 3 and i != 1]
    assert [line["doc_id"] for line in lines_of(tmp_path / "a.jsonl")] == failed
    posterior(tasks, checkpoint, tmp_path / "b.jsonl", only_failed=[other], metric="acc", limit=2, **options)
    assert [line["doc_id"] for line in lines_of(tmp_path / "b.jsonl")] == [0, 2]


def test_samples_that_cannot_be_are_refused(tasks, tmp_path, samples):
    lines = lines_of(samples)
    cases = [
        ([tmp_path / "none.jsonl"], "--only_failed .*none.jsonl does not exist"),
        ([samples], "holds samples of pens_on_train, and --tasks is pens"),
        ([write(tmp_path / "empty.jsonl", [])], "holds no samples"),
        ([write(tmp_path / "list.jsonl", [[1]])], "line 1 is no JSON object"),
        ([write(tmp_path / "id.jsonl", [{"acc": 0}])], "line 1 has no doc_id"),
        ([write(tmp_path / "range.jsonl", [{"doc_id": 20, "acc": 0}])], "its document 20 is not that of pens"),
        ([write(tmp_path / "right.jsonl", [lines[0] | {"acc": 1.0}])], "no document has acc 0"),
        (
            [write(tmp_path / "hash.jsonl", [*lines[:3], lines[3] | {"doc_hash": "0"}])],
            "hash.jsonl line 4: its document",
        ),
        ([write(tmp_path / "metric.jsonl", [{"doc_id": 1, "em": 0, "metrics": ["em"]}])], "its metrics are em"),
    ]
    for only_failed, message in cases:
        refused(tasks, "none", tmp_path / "a.jsonl", message, only_failed=only_failed)


def test_samples_of_another_split_are_told_by_their_documents(tasks, tmp_path, samples):
    shutil.copy(samples, tmp_path / "renamed.jsonl")
    refused(tasks, "none", tmp_path / "a.jsonl", "line 1: its document 19 is not that of pens in this split",
            only_failed=[tmp_path / "renamed.jsonl"], split="test")  # fmt: skip
