"""Which checkpoint a run goes on from: the newest one that was written to its end."""

import json
import os
import re
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..checkpoints.inside import read_object
from .launch import Launch


MARKER = "complete.json"
"""Written last into a checkpoint: the sizes of all its files."""


class CompletionMarker(TrainerCallback):  # type: ignore[misc]  # transformers has no usable annotations
    """Marks a checkpoint as whole; has to be the last callback that writes into one."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Once every process has written its part."""
        self.launch.wait_for_all()
        if self.launch.is_first:
            mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
        self.launch.wait_for_all()


def mark_complete(folder: Path) -> None:
    """Record the files of a checkpoint; appears whole or not at all."""
    partial = folder / f"{MARKER}.partial"
    partial.write_text(json.dumps(_sizes(folder), indent=1) + "\n")
    os.replace(partial, folder / MARKER)


def is_complete(folder: Path) -> bool:
    """Whether the checkpoint was marked, and all files it had then are still there in their sizes."""
    try:
        marked = read_object(folder / MARKER)
    except (OSError, ValueError):
        return False
    sizes = _sizes(folder)
    return all(name in sizes and sizes[name] == size for name, size in marked.items())


def newest_complete(folder: Path) -> tuple[Path | None, list[Path]]:
    """The checkpoint to go on from, None if there is none, and those after it that are not whole."""
    if not folder.is_dir():
        return None, []
    numbered = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in folder.iterdir() if path.is_dir()]
    broken: list[Path] = []
    for _, path in sorted(((int(match[1]), path) for match, path in numbered if match), reverse=True):
        if is_complete(path):
            return path, broken
        broken.append(path)
    return None, broken


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(MARKER))
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
