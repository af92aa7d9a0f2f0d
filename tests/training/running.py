"""Short training runs of tiny networks, and their results."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lm_eval_mdlm.training.config import TrainingConfig


TEMPLATE = '[{"reasoning": 12}, {"text": "\\nThe answer is "}, {"answer": 4}]'
LINES = [
    {"prompt": "Q: 1 + 1?\nA:", "solution": " 1 + 1 = 2.", "answer": "2"},
    {"prompt": "Q: 2 + 1?\nA:", "solution": " 2 + 1 = 3, so 3.", "answer": "3"},
    {"prompt": "Say a.\n", "response": "aaa"},
]


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def options(data: Path, out: Path, checkpoint: Path | None, **more: Any) -> TrainingConfig:
    """Four steps of four rows on the CPU in float32, with a checkpoint after every second one."""
    chosen: dict[str, Any] = {"pretrained": str(checkpoint), "template": TEMPLATE, "steps": 4, "batch_size": 4}
    chosen |= {"workers": 0, "cpu": True, "precision": "float32", "save_dtype": "float32", "save_every": 2}
    chosen |= {"learning_rate": 1e-2, "warmup_steps": 1, "log_every": 1, "average_decay": 0.9}
    return TrainingConfig(data=str(data), out=str(out), **chosen | more)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def losses(folder: Path) -> dict[int, float]:
    """Training loss by step."""
    history = json.loads((folder / "losses.json").read_text())
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


def assert_equal_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
