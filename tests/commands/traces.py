"""A task with twenty documents in each of two splits, and posterior traces of it inside this process."""

import json
from pathlib import Path
from typing import Any

import yaml
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.harness.posterior import PosteriorOptions, make_traces


NUM_DOCUMENTS = 20
TEMPLATE = [{"reasoning": 12}, {"text": "\nThe answer is "}, {"answer": 6}]
TASK: dict[str, Any] = {
    "dataset_path": "json",
    "output_type": "generate_until",
    "training_split": "train",
    "test_split": "test",
    "fewshot_split": "train",
    "description": "Count the {{thing}}.\n\n",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "generation_kwargs": {"until": [], "template": TEMPLATE, "block_length": 8},
    "metadata": {"version": 1.0, "gold_answer": "{{answer.split('#') | last}}"},
}


def document(split: str, i: int) -> dict[str, str]:
    """Answers have two to four digits."""
    thing = ["pens", "eggs", "apples"][i % 3]
    question = f"Ann has {i} {thing} and gets {7 * i + len(split)} more. How many has she now?" + " So?" * (i % 4)
    return {"thing": thing, "question": question, "answer": f"It is #{10 + (8 * i) ** 2 + len(split)}"}


def write_task(folder: Path, name: str, **changes: Any) -> None:
    """A task's YAML with its documents beside it."""
    for split in ("train", "test"):
        rows = [json.dumps(document(split, i)) + "\n" for i in range(NUM_DOCUMENTS)]
        (folder / f"{split}.jsonl").write_text("".join(rows))
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "test")}
    task = {"task": name, "dataset_kwargs": {"data_files": files}, **TASK, **changes}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))


def manager_of(folder: Path | str, **metadata: Any) -> TaskManager:
    return TaskManager(include_path=str(folder), include_defaults=False, metadata=metadata)


def posterior(folder: Path | str, checkpoint: Path | str, output: Path, task: str = "pens", **options: Any) -> str:
    """The summary; `metadata` is for the task."""
    metadata = options.pop("metadata", {})
    model_args = (f"pretrained={checkpoint}", *options.pop("model_args", ()))
    made = PosteriorOptions(**{"task": task, "output": output, "model_args": model_args, "device": "cpu", **options})
    summary = make_traces(made, manager_of(folder, **metadata))
    assert summary is not None
    return summary


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
