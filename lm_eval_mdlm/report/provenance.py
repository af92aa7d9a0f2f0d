"""Where a run's figures come from: the command that makes them again, its versions, and the options that acted."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ..showing.private import public
from .methods import NOT_OF_THE_METHOD
from .runs import Run
from .tables import Entry, Table


def command_of(run: Run) -> str:
    """The command line of lm_eval that asks for the same; without keys of services, and with `~` for home folders."""
    config, plain = run.config, run.plain
    tasks = list(dict.fromkeys(one.task for one in run.outcomes))
    parts = ["lm_eval", "--model", run.kind]
    parts += _flag("--model_args", _arguments(public(run.model_args)))
    parts += ["--tasks", ",".join(tasks)]
    shots = {shots for task in tasks if (shots := _number(plain.get("n-shot"), task)) is not None}
    parts += ["--num_fewshot", str(shots.pop())] if len(shots) == 1 else []
    parts += _flag("--gen_kwargs", _arguments(public(run.gen_kwargs)))
    parts += _flag("--limit", config.get("limit"))
    parts += _flag("--batch_size", config.get("batch_size"))
    seeds = [config.get(f"{kind}_seed") for kind in ("random", "numpy", "torch", "fewshot")]
    parts += ["--seed", ",".join(map(str, seeds))] if all(seed is not None for seed in seeds) else []
    parts += ["--apply_chat_template"] if plain.get("chat_template") else []
    parts += (
        ["--fewshot_as_multiturn", "true"] if plain.get("chat_template") and plain.get("fewshot_as_multiturn") else []
    )
    parts += _flag("--system_instruction", plain.get("system_instruction"))
    return shlex.join([*parts, "--log_samples", "--output_path", "results"])


def _flag(name: str, value: Any) -> list[str]:
    if value in (None, ""):
        return []
    is_whole = isinstance(value, float) and value.is_integer() and value > 1
    return [name, str(int(value) if is_whole else value)]


def _arguments(given: Mapping[str, Any]) -> str:
    """As `a=1,b=2`, or as JSON where a value is more than a word."""
    if any(isinstance(value, (dict, list)) or "," in str(value) for value in given.values()):
        return json.dumps(dict(given), ensure_ascii=False)
    return ",".join(f"{name}={value}" for name, value in given.items())


def _number(by_task: Any, task: str) -> int | None:
    value = by_task.get(task) if isinstance(by_task, dict) else None
    return value if isinstance(value, int) else None


def runs_table(runs: Sequence[Run]) -> Table:
    """What each run was, of what the page knows."""
    columns = ["run", "model", "checkpoint", "dtype", "device", "batch", "versions", "date", "seconds"]
    return Table(title="Runs", columns=columns, rows=[_run_row(run) for run in runs])


def _run_row(run: Run) -> list[Entry]:
    record, config, plain = run.record, run.config, run.plain
    backbone = record.get("backbone") if isinstance(record.get("backbone"), dict) else {}
    assert isinstance(backbone, dict)
    revision = [config.get("model_revision"), config.get("model_sha"), backbone.get("fingerprint")]
    versions = record.get("versions") if isinstance(record.get("versions"), dict) else None
    known = versions or {"lm_eval": plain.get("lm_eval_version"), "transformers": plain.get("transformers_version")}
    # Other models put lm_eval's default there, whatever they ran on.
    device = " ".join(str(record[key]) for key in ("device", "device_name") if record.get(key))
    return [
        Entry(run.name),
        Entry(public(run.model)),
        Entry(public(" ".join(str(part) for part in revision if part))),
        Entry(str(record.get("dtype") or config.get("model_dtype") or "").removeprefix("torch.")),
        Entry(device),
        Entry(str(config.get("batch_size") or "")),
        Entry(" ".join(f"{name} {version}" for name, version in known.items() if version)),
        Entry(_date(plain.get("date"))),
        Entry(_seconds(plain.get("total_evaluation_time_seconds"))),
    ]


def _date(value: Any) -> str:
    try:
        return datetime.fromtimestamp(value, tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def _seconds(value: Any) -> str:
    try:
        return f"{float(value):.0f}"
    except (TypeError, ValueError, OverflowError):
        return ""


def options_table(runs: Sequence[Run]) -> Table:
    """For every run and task: options given that acted, given ones that are not on record as acting, and defaults."""
    rows = [row for run in runs for row in _option_rows(run)]
    return Table(
        title="Options",
        columns=["run", "task", "given, with effect", "given, not on record as acting", "left at their defaults"],
        rows=rows,
        remarks=[
            "An option that is not on record as acting had no effect on the task, or is another spelling of one that "
            "is. Other models than mdlm keep no such record; what they were given stands under the first heading."
        ],
    )


def _option_rows(run: Run) -> Iterator[list[Entry]]:
    loading = run.record.get("loading")
    for task in dict.fromkeys(one.task for one in run.outcomes):
        of_task = run.task_config(task).get("generation_kwargs")
        own = of_task if isinstance(of_task, dict) else {}
        given = {**own, **run.model_args, **run.gen_kwargs}
        effective = run.effective(task)
        known = {*effective, *(loading if isinstance(loading, dict) else ()), *NOT_OF_THE_METHOD}
        idle = {name: value for name, value in given.items() if effective and name not in known}
        acting = {name: value for name, value in given.items() if name not in idle}
        defaults = {name: value for name, value in effective.items() if name not in given}
        yield [
            Entry(run.name),
            Entry(task),
            Entry(_listed({name: effective.get(name, value) for name, value in acting.items()})),
            Entry(_listed(idle), mark="flag" if idle else ""),
            Entry(_listed(defaults), mark="muted"),
        ]


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in public(options).items())
