"""Which runs are the same method: alike in model and options, so that only seed, prompt or task differ."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..showing.private import public
from .runs import Run


NOT_OF_THE_METHOD = frozenset(
    {"seed", "device", "batch_size", "max_batch_size", "journal", "record_steps", "task_stats"}
)
"""Arguments that decide where a run is computed, or which draw it is, but not by which method."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to get answers, run one or more times."""

    name: str
    """As the page calls it: of its only run, or the options that tell it from the others."""
    runs: tuple[Run, ...]

    @property
    def options(self) -> dict[str, Any]:
        """As given on the command line, without those that are not of the method."""
        return _options(self.runs[0])


def methods_of(runs: Sequence[Run]) -> list[Method]:
    """All methods, in the order of their first runs.

    A run that repeats another to the seed and the prompt is a method of its own, so that the two can be compared.
    """
    groups: list[tuple[str, set[tuple[str, str, str]], list[Run]]] = []
    for run in runs:
        identity, own = _identity(run), set(_draws(run))
        for known, taken, members in groups:
            if known == identity and not taken & own:
                taken |= own
                members.append(run)
                break
        else:
            groups.append((identity, own, [run]))
    members_of = [tuple(members) for _, _, members in groups]
    names = _names(members_of)
    return [Method(name=name, runs=members) for name, members in zip(names, members_of, strict=True)]


def seed_of(run: Run) -> str:
    """What the run's draws depend on: the option `seed`, or else the harness's own seed of torch."""
    known = (run.gen_kwargs.get("seed"), run.model_args.get("seed"), run.record.get("seed"))
    return str(next((seed for seed in known if seed is not None), run.config.get("torch_seed", "unknown")))


def prompt_of(run: Run, task: str) -> Mapping[str, Any]:
    """All that words a document: two runs with equal values ask in the same words."""
    config = run.task_config(task)
    of_task = {name: config.get(name) for name in ("doc_to_text", "description", "gen_prefix") if config.get(name)}
    by_task = run.plain.get("n-shot")
    shots = by_task.get(task) if isinstance(by_task, dict) else None
    of_run = {name: run.plain.get(name) for name in ("system_instruction", "chat_template_sha")}
    if shots and of_run["chat_template_sha"]:  # elsewhere shots are no turns, whatever was asked
        of_run["fewshot_as_multiturn"] = run.plain.get("fewshot_as_multiturn")
    return {**of_task, "num_fewshot": shots, **{name: value for name, value in of_run.items() if value}}


def name_of_prompt(run: Run) -> str | None:
    """In the sweep that the run is a cell of; other runs have none."""
    prompt = run.cell.get("prompt")
    return str(prompt["name"]) if isinstance(prompt, dict) and prompt.get("name") else None


def _identity(run: Run) -> str:
    described = [run.model, _options(run), *(run.config.get(f"model_{part}") for part in ("dtype", "revision", "sha"))]
    return json.dumps(described, sort_keys=True, default=str)


def _options(run: Run) -> dict[str, Any]:
    """Options of a call first, which tell methods apart more often than those of the model."""
    of_sweep = run.cell.get("options")
    options = of_sweep if isinstance(of_sweep, dict) else run.gen_kwargs
    given = {**options, **{name: value for name, value in run.model_args.items() if name not in options}}
    return {name: value for name, value in given.items() if name not in NOT_OF_THE_METHOD}


def _draws(run: Run) -> Iterator[tuple[str, str, str]]:
    for task in {one.task for one in run.outcomes}:
        yield task, json.dumps(prompt_of(run, task), sort_keys=True, default=str), seed_of(run)


def _names(groups: Sequence[tuple[Run, ...]]) -> list[str]:
    """Of a single run its own name; of several, and of a sweep, the options by which the groups differ, if unlike."""
    options = [_options(group[0]) for group in groups]
    described = [_differing(own, options) for own in options]
    return [
        text if text and described.count(text) == 1 and (len(group) > 1 or group[0].cell) else group[0].name
        for group, text in zip(groups, described, strict=True)
    ]


def _differing(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        _named(name, value) for name, value in _sampler_first(own) if any(other.get(name) != value for other in others)
    )


def _sampler_first(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(options.items(), key=lambda item: item[0] != "sampler")


def _named(name: str, value: Any) -> str:
    return _written(name, value) if name == "sampler" else f"{name}={_written(name, value)}"


def families_of(methods: Sequence[Method]) -> dict[str, str]:
    """For each method the line that it is a point of: methods that differ by the values of numbers alone share one."""
    described = {method.name: _described(method, methods) for method in methods}
    counted = list(described.values())
    # A line of a single point needs no other name than the point's.
    return {name: text if counted.count(text) > 1 and text else name for name, text in described.items()}


def _described(method: Method, methods: Sequence[Method]) -> str:
    named = [
        name if _is_number(value) else _named(name, value)
        for name, value in _sampler_first(method.options)
        if any(other.options.get(name) != value for other in methods)
    ]
    models = {other.runs[0].model for other in methods}
    return ", ".join(named + ([str(public(method.runs[0].model))] if len(models) > 1 else []))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool)


def _written(name: str, value: Any) -> str:
    (shown,) = public({name: value}).values()
    return shown if isinstance(shown, str) else json.dumps(shown, default=str)
