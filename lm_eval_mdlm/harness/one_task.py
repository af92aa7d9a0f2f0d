"""One task as an evaluation would set it up, on the documents of any of its splits."""

import difflib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from ..errors import UsageError


Split = Literal["train", "validation", "test"]
SPLITS: Mapping[Split, str] = {"train": "training_split", "validation": "validation_split", "test": "test_split"}
"""The task's setting that names each split."""
SEEDS = {"random": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}
"""Those of an evaluation by default; shuffled documents and random shots depend on them."""


def set_seeds() -> None:
    """As an evaluation does before it loads anything."""
    random.seed(SEEDS["random"])
    np.random.seed(SEEDS["numpy"])
    torch.manual_seed(SEEDS["torch"])


def load_task(
    manager: TaskManager, name: str, split: Split, *, num_fewshot: int | None, gen_kwargs: Mapping[str, Any]
) -> Any:
    """The task, its evaluated documents being those of `split`.

    Args:
        manager: Knows the task.
        name: Of one task that generates; no group.
        split: Of the task's own splits.
        num_fewshot: Shots, unless the task fixes them at 0; None for the task's own number.
        gen_kwargs: Laid over the task's `generation_kwargs`.

    Raises:
        UsageError: If there is no such task, or it has no such split or generates no text.
    """
    task = _loaded(manager, name)
    if task.get_config("output_type") != "generate_until" or not isinstance(task, ConfigurableTask):
        raise UsageError(f"--tasks {name} generates no text, so it has no reasoning to fill in; name another task.")
    _evaluate_on(task, split)
    set_up(task, num_fewshot=num_fewshot, gen_kwargs=gen_kwargs)
    return task


def set_up(task: Any, *, num_fewshot: int | None, gen_kwargs: Mapping[str, Any]) -> None:
    """Give a task the command line's settings as an evaluation does; arguments as of `load_task`."""
    if gen_kwargs and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value=dict(gen_kwargs), update=True)
    own = task.get_config("num_fewshot")
    if num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=SEEDS["fewshot"])


def check_known(manager: TaskManager, name: str) -> None:
    """UsageError if there is no such task, group or tag."""
    if name not in manager.all_tasks and not Path(name).is_file():
        close = difflib.get_close_matches(name, manager.all_tasks, n=1)
        hint = f"did you mean {close[0]}?" if close else "add its folder with --include_path."
        raise UsageError(f"--tasks {name} is not known; {hint}")


def _loaded(manager: TaskManager, name: str) -> Any:
    check_known(manager, name)
    tasks = list(manager.load([name])["tasks"].values())
    if len(tasks) != 1:
        raise UsageError(f"--tasks {name} holds {len(tasks)} tasks, and traces are made of one; name one of them.")
    return tasks[0]


def _evaluate_on(task: Any, split: Split) -> None:
    named = {own: task.get_config(setting) for own, setting in SPLITS.items()}
    if named[split] is None:
        known = ", ".join(f"--split {own}" for own, name in named.items() if name is not None)
        raise UsageError(f"{task.config.task} has no split for --split {split}; it has {known}.")
    # The harness evaluates the test split where there is one, and leaves a document out of its own shots where they
    # come from the split of that very name.
    task.set_config(key="test_split", value=named[split])
