"""The folder of `--output_path`: found to be of use before any pass is run, and to hold all results at the end.

The harness itself writes there last of all, and where it cannot it says so in a line among others and ends well.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..running.ending import fail_at_exit
from ..running.room import check_takes


def check_results_folder(tracker: Any) -> None:
    """UsageError if nothing can be written where the harness's tracker is going to; makes the folder as it does."""
    folder = _folder(tracker)
    if folder is not None:
        check_takes(folder, f"--output_path {tracker.output_path}")


def check_what_is_written(tracker: Any) -> None:
    """From now on the tracker tells whether it could write, and the process fails at its end if it could not."""
    if _folder(tracker) is not None:
        tracker.save_results_aggregated = functools.partial(_saved_results, tracker, tracker.save_results_aggregated)
        tracker.save_results_samples = functools.partial(_saved_samples, tracker, tracker.save_results_samples)


def _folder(tracker: Any) -> Path | None:
    """Where it writes, but for a folder of the model's name; None if it does not."""
    path = getattr(tracker, "output_path", None)
    if not path:
        return None
    return Path(path).parent if Path(path).suffix == ".json" else Path(path)


def _saved_results(tracker: Any, save: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    save(*args, **kwargs)
    _fail_unless(tracker, [path for path in _written(tracker, ".json") if _is_json(path)])


def _saved_samples(tracker: Any, save: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    save(*args, **kwargs)
    name, samples = kwargs.get("task_name"), kwargs.get("samples", ())
    if isinstance(name, str):
        files = [path for path in _written(tracker, ".jsonl") if path.name.startswith(f"samples_{name}_")]
        _fail_unless(tracker, [path for path in files if _num_lines(path) == len(samples)])


def _written(tracker: Any, suffix: str) -> list[Path]:
    """Files of this very run."""
    folder, date = _folder(tracker), getattr(tracker, "date_id", None)
    return [] if folder is None or not date else [*folder.rglob(f"*_{date}{suffix}")]


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _num_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)


def _fail_unless(tracker: Any, found: list[Path]) -> None:
    if not found:
        fail_at_exit(
            f"the results could not be written to {tracker.output_path}; make room there, or name another folder, and "
            f"run the command again: with journal=DIR in --model_args it repeats no pass."
        )
