"""Gold answers of a task's documents, and options in the harness's spelling."""

import gzip
import json

import pytest

from lm_eval_mdlm import TASKS_DIR
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.arguments import options_of
from lm_eval_mdlm.harness.gold import gold_answer
from tests.commands.traces import manager_of, write_task


def gold_of(folder, doc=None, **changes):
    write_task(folder, "own", **changes)
    (task,) = manager_of(folder).load(["own"])["tasks"].values()
    return gold_answer(task, doc or {"thing": "pens", "question": "q", "answer": "It is #7"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metadata": {"gold_answer": "{{answer}}!"}}, "It is #7!"),
        ({"metadata": {"gold_answer": "{{thing | length}}"}, "doc_to_target": "no"}, "4"),
        ({"metadata": {"version": 1}}, "It is #7"),
        ({"metadata": {"version": 1}, "doc_to_target": "{{question}}"}, "q"),
        ({"metadata": {"version": 1}, "doc_to_target": "[1, 2]"}, None),  # a list to the harness, not one answer
        ({"metadata": {"gold_answer": "[1, 2]"}}, "[1, 2]"),
        ({"metadata": {"gold_answer": " \n"}}, None),
        ({"metadata": {"version": 1}, "doc_to_target": ""}, None),
    ],
    ids=str,
)
def test_metadata_names_it_and_the_target_stands_in(tmp_path, changes, expected):
    assert gold_of(tmp_path, **changes) == expected


def test_a_template_that_cannot_be_filled_in_names_the_fields(tmp_path):
    with pytest.raises(UsageError, match="own: metadata gold_answer .* has the fields thing, question, answer"):
        gold_of(tmp_path, metadata={"gold_answer": "{% if %}"})


@pytest.mark.parametrize(
    ("name", "doc", "expected"),
    [
        ("gsm8k_mdlm", {"question": "q", "answer": "3 * 4 #### 5\nso\n#### 1,450"}, "1450"),
        ("gsm8k_mdlm_train", {"question": "q", "answer": "x\n#### -7"}, "-7"),
        ("math500_mdlm", {"problem": "p", "solution": "s", "answer": "[1, 2]"}, "[1, 2]"),
        ("math500_mdlm", {"problem": "p", "solution": "s", "answer": r"\frac{1}{2}"}, r"\frac{1}{2}"),
        ("humaneval_infill_mdlm", {"prompt": "p", "canonical_solution": "    return 1\n"}, "    return 1\n"),
        ("mdlm_demo", {"prompt": "p", "answer": "39", "solution": "s"}, "39"),
    ],
)
def test_own_tasks_name_their_short_answers(name, doc, expected, tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"gsm8k_{split}.jsonl").write_text(json.dumps({"question": "q", "answer": "#### 1"}))
    (tmp_path / "math500_test.jsonl").write_text(json.dumps({"problem": "p", "solution": "s", "answer": "1"}))
    fields = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps(dict.fromkeys(fields, "x")))
    (task,) = manager_of(TASKS_DIR, data_dir=str(tmp_path)).load([name])["tasks"].values()
    assert gold_answer(task, doc) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        (["a=1,b=x,c=True"], {"a": 1, "b": "x", "c": True}),
        (["a=1", "a=2,b=3=4"], {"a": 2, "b": "3=4"}),
        (['{"template": [{"answer": 2}], "a": null}', "b=0.5"], {"template": [{"answer": 2}], "a": None, "b": 0.5}),
    ],
)
def test_options_as_the_harness_spells_them(texts, expected):
    assert options_of("--gen_kwargs", texts) == expected
