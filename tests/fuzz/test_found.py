"""Every fault that fuzzing found, with the least input that shows it."""

import json
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.checkpoints.adapter import Adapter
from lm_eval_mdlm.checkpoints.raw_config import RawConfig
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.arguments import options_of
from lm_eval_mdlm.harness.cells import write_table
from lm_eval_mdlm.harness.doctor.comparing import compare
from lm_eval_mdlm.harness.documents import fill_in_documents
from lm_eval_mdlm.harness.failed import failed_documents
from lm_eval_mdlm.harness.gold import gold_answer
from lm_eval_mdlm.harness.sweep import _have_temperature
from lm_eval_mdlm.harness.sweep_config import SweepConfig
from lm_eval_mdlm.options import values
from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.provenance import runs_table
from lm_eval_mdlm.running.journal_lines import records_of
from lm_eval_mdlm.running.output import write_lines
from lm_eval_mdlm.traces.trace import Trace, read_traces
from lm_eval_mdlm.training.config import TrainingConfig
from lm_eval_mdlm.training.examples import read_examples
from lm_eval_mdlm.training.resuming import MARKER, is_complete
from tests.fuzz.test_documents import Task
from tests.fuzz.test_stores import ESTIMATE, ROWS, TAKEN
from tests.fuzz.test_sweeps import RESULTS
from tests.recordings import made
from tests.report.by_hand import write_run


ENDLESS = {"brackets": "[" * 100_000, "digits": "9" * 5000}
"""Both are errors of Python's that are no JSONDecodeError."""
ADAPTER = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
SETTINGS = {"generation_kwargs": {"temperature": "hot"}}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_json_without_end_is_refused_wherever_it_is_read(text, tmp_path):
    path = tmp_path / "samples_pens_2026-11-28T18-32-14.json"
    path.write_text(f'{{"a": {text}}}')
    (tmp_path / "config.json").write_text(f'{{"a": {text}}}')
    for read in (
        lambda: Template.parse(text),
        lambda: options_of("--model_args", [f'{{"k": {text}}}']),
        lambda: read_traces(path),
        lambda: read_examples(path),
        lambda: failed_documents([path], "acc", "pens", [{}]),
        lambda: RawConfig.read(tmp_path),
    ):
        with pytest.raises(UsageError) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused_in_samples(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"\xff\n")
    with pytest.raises(UsageError, match="line 1 is no JSON object"):
        failed_documents([path], "acc", "pens", [{}])


@pytest.mark.parametrize("metrics", [True, ["a\nb"]])
def test_names_of_metrics_that_are_no_list_or_no_line_end_in_one_line(tmp_path, metrics):
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps({"doc_id": 0, "acc": "x", "metrics": metrics}))
    with pytest.raises(UsageError) as caught:
        failed_documents([path], "acc", "pens", [{}])
    assert "\n" not in str(caught.value)


def test_a_field_whose_name_has_two_lines_is_named_in_one():
    doc = {"a\nb": 1}
    task = Task([{"text": "{{ c }}"}, {"answer": 1}], {"gold_answer": "{{ c }}"}, "x", doc)
    for read in (lambda: fill_in_documents(task, {}), lambda: gold_answer(task, doc)):
        with pytest.raises(UsageError) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{{ answer / 0 }}", "{{ answer + question }}", "{{ question() }}"])
def test_an_expression_that_raises_is_refused(text):
    task = Task([{"text": text}, {"answer": 1}], {"gold_answer": text}, "x", {"question": "a", "answer": 4})
    with pytest.raises(UsageError, match="cannot be filled in"):
        fill_in_documents(task, {})
    with pytest.raises(UsageError, match="cannot be filled in"):
        gold_answer(task, task.instances[0].doc)


def test_a_number_beyond_float32_is_refused_in_a_recording(tmp_path):
    row = {**json.loads(json.dumps(ROWS[0].to_plain())), "entropy": [1e300] * 7}
    fake = SimpleNamespace(doc_id=0, to_plain=lambda: row)
    made.write(tmp_path / "r", [fake])
    with pytest.raises(UsageError, match="has no sound steps"):
        read_steps(tmp_path / "r")


def test_half_a_character_is_written_as_it_was_read(tmp_path):
    write_lines(tmp_path / "out.jsonl", [{"solution": "a\ud800b é"}])
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert json.loads(text) == {"solution": "a\ud800b é"} and "é" in text


@pytest.mark.parametrize("value", [True, 5, "acc", {"metric": "acc"}])
def test_a_list_of_metrics_that_is_none_is_passed_over(tmp_path, value):
    path = write_run(tmp_path, [1, 0])
    plain = json.loads(path.read_text())
    plain["configs"]["sums"]["metric_list"] = value
    path.write_text(json.dumps(plain))
    assert read_folders([tmp_path]).runs[0].outcomes[0].metric == "acc"


def test_seconds_that_are_no_float_are_left_out(tmp_path):
    path = write_run(tmp_path, [1, 0])
    plain = {**json.loads(path.read_text()), "total_evaluation_time_seconds": 10**400}
    path.write_text(json.dumps(plain))
    assert runs_table(read_folders([tmp_path]).runs).rows[0][-1].text == ""


@pytest.mark.parametrize("shots", [{}, [-1, True], "\ud800"], ids=["mapping", "list", "half"])
def test_results_of_a_cell_that_make_no_table_are_refused(tmp_path, shots):
    (tmp_path / "sweep.yaml").write_text("{model_args: {pretrained: x}, tasks: a, grid: [{k: 1}]}")
    (cell,) = SweepConfig.read(tmp_path / "sweep.yaml").cells(lambda options: False)
    cell.folder(tmp_path).mkdir(parents=True)
    content = json.dumps({**RESULTS, "n-shot": {"a": shots}})
    (cell.folder(tmp_path) / "results_2026.json").write_text(content)
    with pytest.raises(UsageError, match="make no table"):
        write_table(tmp_path, [cell])


@pytest.mark.parametrize("name", ["", " ", "\n", "a\nb", "\x85"])
def test_a_name_that_is_no_word_is_quoted_where_it_is_refused(tmp_path, name):
    """An option of a checkpoint or of an adapter that nobody knows, whose name ends a line or is not seen."""
    for file, sound in (("config.json", {}), ("adapter_config.json", ADAPTER)):
        (tmp_path / file).write_text(json.dumps({**sound, name: "LORA"}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    for read in (lambda: RawConfig.read(tmp_path).refuse_unknown(()), lambda: Adapter.open(str(tmp_path))):
        with pytest.raises(UsageError) as caught:
            read()
        assert repr(name) in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_ends_of_lines_in_what_others_wrote_make_no_line():
    assert str(UsageError("first: a\nb\u2028c", "second\r\n")) == "first: a b c\nsecond"
    assert str(pickle.loads(pickle.dumps(UsageError("a", "b")))) == "a\nb"


@pytest.mark.parametrize("format_", ["9" * 5000, "9" * 10])
def test_a_journal_whose_format_is_no_number_that_python_reads_is_refused(tmp_path, format_):
    (tmp_path / "journal.jsonl").write_text(f'{{"mdlm_journal":{format_},"sum":"00000000"}}\n')
    with pytest.raises(UsageError, match="no header of a journal"):
        list(records_of(tmp_path / "journal.jsonl"))


def test_whole_numbers_beyond_every_float_are_refused_where_a_score_is_read(tmp_path):
    path = tmp_path / "samples_pens_2026-11-28T18-32-14.jsonl"
    path.write_text(json.dumps({"doc_id": 0, "acc": 10**400, "doc_hash": "x"}))
    with pytest.raises(UsageError, match="has no number as --metric acc"):
        failed_documents([path], "acc", "pens", [{}])
    with pytest.raises(UsageError, match="score"):
        Trace(path, 1, {"score": 10**400}).get("score")
    (tmp_path / "adapter_config.json").write_text(json.dumps({**ADAPTER, "lora_alpha": 10**400}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="lora_alpha must be a number"):
        Adapter.open(str(tmp_path)).scaling(2)


def test_a_temperature_of_a_task_that_is_no_number_is_told_by_a_sweep():
    manager = SimpleNamespace(load=lambda names: {"tasks": {"pens": SimpleNamespace(get_config=SETTINGS.get)}})
    with pytest.raises(UsageError, match="pens, temperature must be a number"):
        _have_temperature(SimpleNamespace(tasks=["pens"]), manager)


def test_a_token_id_of_thousands_of_digits_is_taken_for_a_text():
    """No tokenizer has it, and the refusal that follows is the one of texts."""
    assert values.tokens("suppress_tokens", "9" * 5000) == ("9" * 5000,)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"[" * 100_000], ids=["empty", "list", "bytes", "brackets"])
def test_a_record_of_training_that_is_none_is_refused_and_no_checkpoint_is_whole_by_it(tmp_path, text):
    for name in ("training.json", MARKER):
        (tmp_path / name).write_bytes(text)
    with pytest.raises(UsageError, match="must be as finetune wrote it"):
        TrainingConfig(pretrained="x", data="d", out=str(tmp_path)).check_same(tmp_path / "training.json")
    assert not is_complete(tmp_path)


def test_a_mark_that_lists_a_file_of_no_size_makes_no_checkpoint_whole(tmp_path):
    (tmp_path / MARKER).write_text('{"gone.bin": null}')
    assert not is_complete(tmp_path)


@pytest.mark.parametrize("seconds", [None, "", 10**400], ids=["none", "empty", "huge"])
def test_seconds_that_are_none_are_refused_beside_an_estimate(tmp_path, seconds):
    ESTIMATE.write(tmp_path / "estimate.json")
    (tmp_path / "results.json").write_text(json.dumps({**TAKEN, "total_evaluation_time_seconds": seconds}))
    with pytest.raises(UsageError, match="must be as doctor and lm_eval wrote them"):
        compare(tmp_path / "estimate.json", tmp_path / "results.json", print)


def test_the_page_of_faults_names_every_test_here_and_no_other_that_is_not():
    root = Path(__file__).parents[2]
    named = set(re.findall(r"`(test_\w+)`", (root / "docs" / "fuzzing.md").read_text()))
    here = {name for name in globals() if name.startswith("test_")} - {
        "test_the_page_of_faults_names_every_test_here_and_no_other_that_is_not"
    }
    assert here <= named
    elsewhere = (root / "tests" / "checkpoints" / "test_tokenizer.py").read_text()
    assert all(f"def {name}(" in elsewhere for name in named - here)
