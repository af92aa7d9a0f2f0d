"""A tiny checkpoint, and a small stock-like task whose data are made on the spot."""

import json
from pathlib import Path

import pytest
import yaml

from tests.tiny import make_checkpoint


QUESTIONS = [
    f"Ann has {i} pens and buys {7 * i % 11} more. How many pens has she now?" + " So?" * (i % 4) for i in range(12)
]
STOCK_LIKE = {
    "output_type": "generate_until",
    "test_split": "test",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "filter_list": [
        {
            "name": "strict",
            "filter": [{"function": "regex", "regex_pattern": "#### (\\d+)"}, {"function": "take_first"}],
        },
        {"name": "loose", "filter": [{"function": "regex", "regex_pattern": "(\\d)"}, {"function": "take_first"}]},
    ],
    "metadata": {"version": 1.0},
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> str:
    return str(make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "llada"))


@pytest.fixture(scope="session")
def tasks(tmp_path_factory) -> str:
    """A folder with the tasks `pens` (stop strings, as stock tasks are) and `pens_template`."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": q, "answer": str(i + 7 * i % 11)} for i, q in enumerate(QUESTIONS)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = [{"reasoning": 12}, {"text": "\nThe answer is "}, {"answer": 4}]
    kinds = {
        "pens": {"until": ["Question:"], "do_sample": False},
        "pens_template": {"until": ["Question:"], "template": template},
    }
    for name, generation_kwargs in kinds.items():
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}},
            **STOCK_LIKE,
            "generation_kwargs": generation_kwargs,
        }
        (Path(folder) / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return str(folder)
