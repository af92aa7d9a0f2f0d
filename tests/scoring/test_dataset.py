import gzip
import json

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.scoring import dataset


QUESTION = {"question": "What is 1 + 1?", "answer": "It is 2.\n#### 2"}
PROBLEM = {"problem": "$1+1$?", "solution": r"\boxed{2}", "answer": "2"}
FUNCTION = {
    "task_id": "Own/0",
    "prompt": 'def f(x):\n    """Add 1."""\n',
    "canonical_solution": "    return x + 1\n",
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    "entry_point": "f",
}
LINE = {**FUNCTION, "suffix": ""}  # the last line is missing


@pytest.fixture
def folder(tmp_path):
    lines = {"gsm8k_train.jsonl": QUESTION, "gsm8k_test.jsonl": QUESTION, "math500_test.jsonl": PROBLEM}
    for name, row in lines.items():
        (tmp_path / name).write_text(json.dumps({**row, "extra": 1}) + "\n\n" + json.dumps(row) + "\n")
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps(FUNCTION) + "\n")
    with gzip.open(tmp_path / "HumanEval-SingleLineInfilling.jsonl.gz", "wt") as file:
        file.write(json.dumps(LINE) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (dataset.gsm8k, {"train": [QUESTION] * 2, "test": [QUESTION] * 2}),
        (dataset.math500, {"test": [PROBLEM] * 2}),
        (dataset.humaneval, {"test": [FUNCTION]}),
        (dataset.humaneval_infilling, {"test": [LINE]}),
    ],
)
def test_folder_is_read_whatever_else_the_metadata_hold(load, expected, folder):
    splits = load(data_dir=str(folder), pretrained="x", version=1.0, cache_dir="y")
    assert {split: rows.to_list() for split, rows in splits.items()} == expected


@pytest.mark.parametrize(
    ("load", "asked"),
    [
        (dataset.gsm8k, [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]),
        (dataset.math500, [("HuggingFaceH4/MATH-500", None, "test")]),
        (dataset.humaneval, [("openai/openai_humaneval", None, "test")]),
        (
            dataset.humaneval_infilling,
            [("loubnabnl/humaneval_infilling", "HumanEval-SingleLineInfilling", "test")],
        ),
    ],
)
def test_without_a_folder_the_hub_is_asked(load, asked, monkeypatch):
    calls = []

    def load_dataset(hub_id, config, split):
        calls.append((hub_id, config, split))
        return dataset.Dataset.from_list([{"x": 1}])

    monkeypatch.setattr(dataset, "load_dataset", load_dataset)
    load(pretrained="x")
    assert calls == asked


def test_unreachable_hub_is_reported_in_one_line_with_the_offline_route(monkeypatch):
    with pytest.raises(UsageError, match=r"openai/gsm8k from the hub .*data_dir.*gsm8k_test\.jsonl") as caught:
        dataset.gsm8k()
    assert "\n" not in str(caught.value)


def test_hub_data_that_need_a_script_are_reported_with_the_offline_route(monkeypatch):
    def load_dataset(*_, **__):
        raise RuntimeError("Dataset scripts are no longer supported")

    monkeypatch.setattr(dataset, "load_dataset", load_dataset)
    with pytest.raises(UsageError, match=r"no longer supported.*HumanEval-SingleLineInfilling\.jsonl\.gz"):
        dataset.humaneval_infilling()


def test_misspelt_data_dir_does_not_lead_to_the_hub():
    with pytest.raises(UsageError, match=r"'datadir'; did you mean 'data_dir'"):
        dataset.gsm8k(datadir="somewhere")


@pytest.mark.parametrize("value", ["no/such/folder", "", 3])
def test_folder_must_exist(value):
    with pytest.raises(UsageError, match="data_dir must be an existing folder"):
        dataset.gsm8k(data_dir=value)


def test_missing_file_is_named_and_not_replaced_by_the_hub(folder):
    (folder / "gsm8k_train.jsonl").unlink()
    with pytest.raises(UsageError, match=r"gsm8k_train\.jsonl is missing.*leave data_dir out"):
        dataset.gsm8k(data_dir=str(folder))


GOOD = json.dumps(QUESTION)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no documents"),
        ("\n\n", "holds no documents"),
        (f"{GOOD}\n\n{{broken\n", "line 3 is not JSON"),
        (f"{GOOD}\n[1]\n", "line 2: question must be a string"),
        ('{"question": "q"}\n', "line 1: answer must be a string that is not empty, got None"),
        ('{"question": "q", "answer": 7}\n', "line 1: answer must be a string that is not empty, got 7"),
        ('{"question": "", "answer": "#### 2"}\n', "line 1: question must be"),
        (f'{GOOD}\n{{"question": "q", "answer": "2"}}\n', "line 2: answer must end in '#### <number>', got '2'"),
    ],
)
def test_malformed_file_is_reported_with_its_line(content, message, folder):
    (folder / "gsm8k_test.jsonl").write_text(content)
    with pytest.raises(UsageError, match="gsm8k_test") as caught:
        dataset.gsm8k(data_dir=str(folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: b"plain text", lambda raw: raw[:12] + b"\0" * 9])
def test_damaged_archive_is_reported(damage, folder):
    path = folder / "HumanEval.jsonl.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match="HumanEval.jsonl.gz cannot be read"):
        dataset.humaneval(data_dir=str(folder))


def test_text_that_is_not_utf8_is_reported(folder):
    (folder / "math500_test.jsonl").write_bytes(b'{"problem": "\xff"}')
    with pytest.raises(UsageError, match="math500_test.jsonl cannot be read"):
        dataset.math500(data_dir=str(folder))
