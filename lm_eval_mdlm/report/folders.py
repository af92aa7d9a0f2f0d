"""Results folders to runs: what is found, what goes together, and what cannot be read."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..showing.private import public
from .runs import Run, outcomes_of, read_results
from .samples import Sample, read_samples


UNFINISHED = ".part"
"""Ends the name of a sweep's cell while it is written."""
_DATE = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_RESULTS = re.compile(rf"(?P<stem>.+)_(?P<date>{_DATE})\.json")


@dataclass(frozen=True)
class Found:
    """What the folders hold."""

    runs: tuple[Run, ...]
    """In the order of the folders, and inside each by path."""
    skipped: tuple[str, ...]
    """A line for each file that could not be read, or that says nothing."""


def read_folders(folders: Sequence[Path]) -> Found:
    """All runs below the folders; a results file may be named itself.

    Raises:
        UsageError: If a folder is not there, or no run was found at all.
    """
    paths = dict.fromkeys(path for folder in folders for path in _results_in(folder))
    runs: list[tuple[Path, Mapping[str, Any], dict[str, dict[str, list[Sample]]]]] = []
    skipped: list[str] = []
    for path in paths:
        if any(folder.suffix == UNFINISHED for folder in path.parents):
            skipped.append(f"{path}: of a cell that is not finished; run its sweep again.")
            continue
        try:
            plain = read_results(path)
        except UsageError as error:
            skipped.append(str(error))
            continue
        runs.append((path, plain, _samples_beside(path, plain, skipped)))
    names = _names([(path, plain) for path, plain, _ in runs])
    made = [_run(name, *run) for name, run in zip(names, runs, strict=True)]
    skipped += [line for run in made for line in _without_score(run)]
    if not any(run.outcomes for run in made):
        whole = ", ".join(map(str, folders))
        raise UsageError(*skipped, f"{whole}: no results of lm_eval there (results_DATE.json).")
    return Found(tuple(run for run in made if run.outcomes), tuple(public(line) for line in skipped))


def _results_in(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; name one that --output_path of lm_eval wrote.")
    return sorted((path for path in folder.rglob("*.json") if _RESULTS.fullmatch(path.name)), key=_in_order)


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Sorts k4 before k16."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", str(path)) if part]


def _samples_beside(path: Path, plain: Mapping[str, Any], skipped: list[str]) -> dict[str, dict[str, list[Sample]]]:
    """By task and filter. A file that cannot be read is named in `skipped`, and its task has no samples."""
    match = _RESULTS.fullmatch(path.name)
    found: dict[str, dict[str, list[Sample]]] = {}
    for task in plain["configs"] if match else ():
        file = path.parent / f"samples_{task}_{match['date']}.jsonl" if match else path
        # A name with a path in it would lead to another folder.
        if file.parent != path.parent or not _is_file(file):
            continue
        try:
            found[task] = read_samples(file)
        except UsageError as error:
            skipped.append(str(error))
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # of a task whose name no file can have
        return False


def _run(name: str, path: Path, plain: Mapping[str, Any], samples: Mapping[str, Mapping[str, Sequence[Sample]]]) -> Run:
    outcomes = [one for task in plain["configs"] for one in outcomes_of(plain, task, samples.get(task, {}))]
    return Run(name=name, path=path, plain=plain, outcomes=tuple(outcomes))


def _without_score(run: Run) -> list[str]:
    """A line for each task without one, or a single line where that is every task."""
    scored = {one.task for one in run.outcomes}
    if not scored:
        return [f"{run.path}: no task of it has a score that is a number."]
    return [f"{run.path}: {task} has no score that is a number." for task in run.plain["configs"] if task not in scored]


def _names(runs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[str]:
    """The fewest last parts of each folder that tell it from the others; of runs in one folder, their dates too.

    The harness's own folder, named after the model, is left out where the one above it tells the runs apart.
    """
    parts = []
    for path, plain in runs:
        folder = path.absolute().parent
        if folder.name == plain.get("model_name_sanitized") and folder.parent.name:
            folder = folder.parent
        parts.append(tuple(part for part in folder.parts if part != os.sep))
    folders = list(dict.fromkeys(parts))
    short = {folder: _shortest(folder, folders) for folder in folders}
    of_folder = Counter(parts)
    return [
        short[own] if of_folder[own] == 1 else f"{short[own]} {path.stem.rpartition('_')[2]}"
        for own, (path, _) in zip(parts, runs, strict=True)
    ]


def _shortest(folder: tuple[str, ...], folders: Sequence[tuple[str, ...]]) -> str:
    for depth in range(1, len(folder) + 1):
        if sum(other[-depth:] == folder[-depth:] for other in folders) == 1:
            return "/".join(folder[-depth:])
    return "/".join(folder)
