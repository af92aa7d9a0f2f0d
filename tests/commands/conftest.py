"""A tiny checkpoint, and a folder of tasks."""

from pathlib import Path

import pytest

from tests.commands.traces import TASK, write_task


@pytest.fixture(scope="session")
def checkpoint(checkpoints) -> Path:
    return checkpoints["llada"]


@pytest.fixture(scope="session")
def tasks(tmp_path_factory) -> Path:
    """`pens`; `pens_on_train`, which evaluates the train split; and tasks that cannot be."""
    folder = tmp_path_factory.mktemp("tasks")
    write_task(folder, "pens")
    write_task(folder, "pens_on_train", test_split="train")
    kwargs = TASK["generation_kwargs"]
    write_task(folder, "free", generation_kwargs={"until": []})
    write_task(folder, "no_answer", generation_kwargs={**kwargs, "template": [{"reasoning": 4}, {"text": " so"}]})
    write_task(folder, "two_answers", generation_kwargs={**kwargs, "template": [*kwargs["template"], {"answer": 1}]})
    write_task(folder, "no_reasoning", generation_kwargs={**kwargs, "template": [{"text": "so "}, {"answer": 4}]})
    write_task(folder, "no_gold", metadata={"gold_answer": "{{answer if answer | length > 9}}"})
    write_task(folder, "bad_gold", metadata={"gold_answer": "{{answer | nonsense}}"})
    write_task(folder, "choice", output_type="multiple_choice", doc_to_choice=["a", "b"], doc_to_target=0)
    write_task(folder, "test_only", training_split=None, fewshot_split=None)
    return folder
