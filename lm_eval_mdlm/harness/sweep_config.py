"""A sweep as its YAML file describes it: one model, and a grid of ways to decode, prompts, shots and seeds."""

import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..options import values
from ..options.decoding import DecodingConfig
from ..options.loading import split_options
from ..showing.private import public
from .plain_yaml import read_yaml


SYSTEM = "system_instruction"
"""Among a prompt's entries the one that is no task."""
MOST_CELLS = 10_000


@dataclass(frozen=True)
class Prompt:
    """A named way to pose the same questions."""

    name: str
    system_instruction: str | None = None
    by_task: Mapping[str, str] = field(default_factory=dict)
    """For tasks that are worded differently the Jinja that takes the place of their `doc_to_text`."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the harness."""

    options: Mapping[str, Any]
    """Decoding options, laid over the tasks' own."""
    prompt: Prompt
    num_fewshot: int | None
    """None for the tasks' own number."""
    seed: int

    @property
    def content(self) -> dict[str, Any]:
        """All that tells it apart from other cells of its sweep, as plain values."""
        return {**dataclasses.asdict(self), "options": dict(self.options)}

    def folder(self, output: Path) -> Path:
        """Where a sweep that writes to `output` keeps its results."""
        return output / "cells" / self.name

    @property
    def name(self) -> str:
        """For its folder: readable, and of no other cell."""
        words = [f"{name}={_short(value)}" for name, value in public(dict(self.options)).items()]
        words += [] if self.prompt.name == "own" else [f"prompt={self.prompt.name}"]
        words += [] if self.num_fewshot is None else [f"shots={self.num_fewshot}"]
        digest = hashlib.blake2b(json.dumps(self.content, sort_keys=True).encode(), digest_size=4).hexdigest()
        readable = re.sub(r"[^A-Za-z0-9=.+-]+", "_", "+".join([*words, f"seed={self.seed}"]))
        return f"{readable[:120]}.{digest}"


OWN = Prompt("own")
"""The tasks' own wording."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Every key of a sweep's file."""

    model_args: Mapping[str, Any]
    tasks: tuple[str, ...]
    grid: tuple[Mapping[str, Any], ...]
    """Ways to decode, every one a mapping from options to values, lists among them multiplied out."""
    include_path: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    num_fewshot: tuple[int | None, ...] = (None,)
    seeds: tuple[int, ...] = (0,)
    """Of drawn tokens and orders; a way to decode that draws nothing runs with the first one only."""
    prompts: tuple[Prompt, ...] = (OWN,)
    apply_chat_template: bool = False
    confirm_run_unsafe_code: bool = False
    """As the harness's option: for tasks of others that run what a model writes."""
    batch_size: int | str = "auto"
    device: str | None = None

    @classmethod
    def read(cls, path: Path) -> "SweepConfig":
        """From a YAML file.

        Raises:
            UsageError: If it cannot be read, has an unknown key or lacks one, or names an option that cannot be.
        """
        written = read_yaml(path)
        if not isinstance(written, Mapping):
            raise UsageError(f"{path} must hold a mapping with model_args, tasks and grid, got {written!r:.60}.")
        for name in written:
            if name not in _CHECKS:
                raise UsageError(
                    f"{path}: unknown key {name!r}.{values.closest(name, _CHECKS)} Known: {', '.join(_CHECKS)}."
                )
        if missing := [name for name in ("model_args", "tasks", "grid") if not written.get(name)]:
            raise UsageError(f"{path}: {missing[0]} must be there and hold something; add it.")
        if isinstance(written.get("prompts"), str):
            written = {**written, "prompts": _prompts_file(path.parent / written["prompts"])}
        config = cls(**{name: _CHECKS[name](name, value) for name, value in written.items() if value is not None})
        config._check_cells()
        return config

    def _check_cells(self) -> None:
        ways = sum(math.prod(len(v) if isinstance(v, list) else 1 for v in one.values()) for one in self.grid)
        cells = ways * len(self.prompts) * len(self.num_fewshot) * len(self.seeds)
        if cells > MOST_CELLS:
            raise UsageError(f"grid, prompts, num_fewshot and seeds must give at most {MOST_CELLS} cells, got {cells}.")
        _, base, _ = split_options({"pretrained": None, **self.model_args})
        for options in self.ways():
            try:
                DecodingConfig.from_options(options, DecodingConfig.from_options(base))
            except UsageError as error:
                raise UsageError(f"grid, {json.dumps(options)}: {error}") from None
        known = set(self.tasks) | {SYSTEM}
        for prompt in self.prompts:
            if other := set(prompt.by_task) - known:
                raise UsageError(
                    f"prompts, {prompt.name}: {min(other)} is none of the tasks {', '.join(self.tasks)}; correct it."
                )

    @property
    def identity(self) -> dict[str, Any]:
        """What all cells of a folder must share, as plain values; further cells may be added."""
        names = ("model_args", "tasks", "include_path", "metadata", "limit", "apply_chat_template")
        return {name: getattr(self, name) for name in names}

    def ways(self) -> Iterator[dict[str, Any]]:
        """Every way to decode, in the order of the file, each once."""
        seen = []
        for mapping in self.grid:
            axes = [value if isinstance(value, list) else [value] for value in mapping.values()]
            for chosen in itertools.product(*axes):
                way = dict(zip(mapping, chosen, strict=True))
                if way not in seen:
                    seen.append(way)
                    yield way

    def cells(self, draws: Callable[[Mapping[str, Any]], bool]) -> list[Cell]:
        """All of them.

        Args:
            draws: Whether random numbers decide anything under these options.
        """
        return [
            Cell(options=options, prompt=prompt, num_fewshot=shots, seed=seed)
            for options in self.ways()
            for prompt in self.prompts
            for shots in self.num_fewshot
            for seed in (self.seeds if draws(options) else self.seeds[:1])
        ]


def ways_of_one_seed(cells: Sequence[Cell]) -> int:
    """How many ways to decode run with one seed alone."""
    seeds: dict[str, set[int]] = {}
    for cell in cells:
        seeds.setdefault(json.dumps(cell.options), set()).add(cell.seed)
    return sum(len(own) == 1 for own in seeds.values())


def _short(value: Any) -> str:
    return "".join(next(iter(part)) for part in value) if isinstance(value, list) and value else str(value)


def _prompts_file(path: Path) -> Any:
    try:
        return read_yaml(path)
    except UsageError as error:
        raise UsageError(f"prompts: {error}") from None


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{name} must be a mapping from names to values, got {value!r:.60}; correct it.")
    _check_plain(name, value)
    return dict(value)


def _check_plain(name: str, value: Any) -> None:
    """UsageError for what YAML knows and no command line: a date without quotes, a set, bytes."""
    if isinstance(value, Mapping | list):
        for own in value.values() if isinstance(value, Mapping) else value:
            _check_plain(name, own)
    elif not isinstance(value, str | int | float | None):
        raise UsageError(f"{name}: {value!s:.60} is a {type(value).__name__} to YAML; write it in quotes, as a text.")


def _names(name: str, value: Any) -> tuple[str, ...]:
    several = value.split(",") if isinstance(value, str) else value
    if not isinstance(several, list) or not all(isinstance(one, str) and one for one in several):
        raise UsageError(f"{name} must be a name or a list of names, got {value!r:.60}; correct it.")
    return tuple(dict.fromkeys(several))


def _grid(name: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, Mapping) and one for one in value):
        raise UsageError(f"{name} must be a list of mappings from options to values, got {value!r:.60}; correct it.")
    for mapping in value:
        if empty := [option for option, own in mapping.items() if own == []]:
            raise UsageError(f"{name}: {empty[0]} has an empty list of values; give one at least, or leave it out.")
        if odd := [option for option in mapping if not isinstance(option, str)]:
            raise UsageError(f"{name}: {odd[0]!r} is no name of an option; correct it.")
        _check_plain(name, mapping)
    return tuple(dict(one) for one in value)


def _numbers(minimum: int) -> Callable[[str, Any], tuple[int, ...]]:
    def check(name: str, value: Any) -> tuple[int, ...]:
        several: Sequence[Any] = value if isinstance(value, list) else [value]
        if not several:
            raise UsageError(f"{name} must hold a number, got an empty list; leave it out.")
        return tuple(dict.fromkeys(values.integer(name, one, minimum) for one in several))

    return check


def _prompts(name: str, value: Any) -> tuple[Prompt, ...]:
    written = _mapping(name, value)
    if not written:
        raise UsageError(f"{name} must name a wording, got an empty mapping; leave it out.")
    return tuple(_prompt(f"{name}, {own}", own, entries) for own, entries in written.items())


def _prompt(where: str, name: str, entries: Any) -> Prompt:
    own = _mapping(where, entries or {})
    if wrong := [key for key, text in own.items() if not isinstance(text, str)]:
        raise UsageError(f"{where}: {wrong[0]} must be a text, got {own[wrong[0]]!r:.60}; correct it.")
    return Prompt(name, own.get(SYSTEM), {task: text for task, text in own.items() if task != SYSTEM})


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "model_args": _mapping,
    "tasks": _names,
    "grid": _grid,
    "include_path": lambda name, value: str(value),
    "metadata": _mapping,
    "limit": lambda name, value: values.integer(name, value, 1),
    "num_fewshot": _numbers(0),
    "seeds": _numbers(0),
    "prompts": _prompts,
    "apply_chat_template": values.flag,
    "confirm_run_unsafe_code": values.flag,
    "batch_size": lambda name, value: "auto" if value == "auto" else values.integer(name, value, 1),
    "device": lambda name, value: str(value),
}
