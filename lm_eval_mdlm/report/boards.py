"""A task by a filter, and in it every method, prompt and seed that the runs have."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .methods import Method, methods_of, name_of_prompt, prompt_of, seed_of
from .runs import Outcomes, Run


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run's outcomes, with what tells it from the other cells of its method."""

    method: str
    prompt: str
    """Short name of the wording."""
    seed: str
    run: Run
    outcomes: Outcomes


@dataclass(frozen=True, kw_only=True)
class Board:
    """What is compared with each other."""

    task: str
    filter: str
    metric: str
    higher_is_better: bool
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """Task and filter, as a reader may say it."""
        return self.task if self.filter == "none" else f"{self.task} ({self.filter})"

    @property
    def methods(self) -> list[str]:
        """Names in the order of the runs."""
        return list(dict.fromkeys(cell.method for cell in self.cells))

    @property
    def prompts(self) -> list[str]:
        """Short names in the order of the runs."""
        return list(dict.fromkeys(cell.prompt for cell in self.cells))

    def of(self, method: str, prompt: str | None = None) -> list[Cell]:
        """The cells of one method, of one prompt only if that is named."""
        return [cell for cell in self.cells if cell.method == method and prompt in (None, cell.prompt)]


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that a page is made of."""

    runs: tuple[Run, ...]
    methods: tuple[Method, ...]
    boards: tuple[Board, ...]
    """Tasks in the order of the runs; inside a task the filters in the harness's order."""
    wordings: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """By task, then by short name of the prompt, what words it."""

    def method_of(self, name: str) -> Method | None:
        """The method of this name, or the one that a run of this name belongs to."""
        by_name = [method for method in self.methods if method.name == name]
        by_run = [method for method in self.methods if any(run.name == name for run in method.runs)]
        return next(iter([*by_name, *by_run]), None)


def study_of(runs: Sequence[Run]) -> Study:
    """Put runs in order."""
    methods = methods_of(runs)
    wordings = _wordings(runs)
    cells: dict[tuple[str, str, str], list[Cell]] = {}
    for method in methods:
        for run in method.runs:
            for one in run.outcomes:
                words = prompt_of(run, one.task)
                prompt = next(name for name, known in wordings[one.task].items() if known == words)
                cell = Cell(method=method.name, prompt=prompt, seed=seed_of(run), run=run, outcomes=one)
                cells.setdefault((one.task, one.filter, one.metric), []).append(cell)
    tasks = list(dict.fromkeys(task for task, _, _ in cells))
    boards = [_board(key, cells[key]) for key in sorted(cells, key=lambda key: tasks.index(key[0]))]
    return Study(runs=tuple(runs), methods=tuple(methods), boards=tuple(boards), wordings=wordings)


def _board(key: tuple[str, str, str], cells: Sequence[Cell]) -> Board:
    task, own_filter, metric = key
    higher = cells[0].outcomes.higher_is_better
    return Board(task=task, filter=own_filter, metric=metric, higher_is_better=higher, cells=tuple(cells))


def _wordings(runs: Sequence[Run]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Equal words have one name: that of a sweep if any run was a cell of one."""
    known: dict[tuple[str, str], list[str]] = {}
    words_of: dict[tuple[str, str], Mapping[str, Any]] = {}
    for run in runs:
        for task in dict.fromkeys(one.task for one in run.outcomes):
            words = prompt_of(run, task)
            key = (task, json.dumps(words, sort_keys=True, default=str))
            words_of.setdefault(key, words)
            name = name_of_prompt(run)
            known.setdefault(key, []).extend([name] if name else [])
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for key, names in known.items():
        task, _ = key
        own = found.setdefault(task, {})
        name = names[0] if names else f"P{len(own) + 1}"
        own[name if name not in own else f"{name} ({len(own) + 1})"] = words_of[key]
    return found
