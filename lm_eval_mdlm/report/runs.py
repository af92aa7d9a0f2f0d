"""A run of lm_eval as its results file and its samples files have it, whatever the model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import only_a_file
from .samples import Sample, counts


COUNTS = frozenset(
    {
        "nfe",
        "nfe_partial",
        "nfe_saved",
        "tokens",
        "tokens_per_forward",
        "early_exit",
        "exit_step",
        "answer_entropy",
        "gold_logprob",
        "truncated",
        "likelihood_se",
        "failed_rows",
    }
)
"""What `mdlm` reports beside a task's own metrics."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """How a run did on one task by one filter."""

    task: str
    filter: str
    metric: str
    """The task's first metric that has a number for every document, or else its first."""
    higher_is_better: bool
    mean: float
    """As lm_eval reports it."""
    standard_error: float | None
    """As lm_eval reports it; None where it gives none."""
    metrics: Mapping[str, float]
    """All of the task's metrics as lm_eval reports them."""
    samples: tuple[Sample, ...]
    """In the file's order; empty where the run kept none."""

    nfe: float | None
    """Mean forward passes as reported; None where the model does not count them."""

    @cached_property
    def scores(self) -> dict[tuple[str, int], float]:
        """The metric of every document, by the document's key."""
        return {one.key: one.numbers[self.metric] for one in self.samples if self.metric in one.numbers}

    def count(self, name: str) -> list[float]:
        """A count of all documents that have it."""
        return [one.numbers[name] for one in self.samples if name in one.numbers]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One results file."""

    name: str
    """Short, unlike that of any other run of the page."""
    path: Path
    """Of the results file."""
    plain: Mapping[str, Any]
    """The results file as it is."""
    outcomes: tuple[Outcomes, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """What the run was called with."""
        return _mapping(self.plain.get("config"))

    @property
    def record(self) -> Mapping[str, Any]:
        """What a model of this package tells about the run; empty for other models."""
        return _mapping(self.config.get("mdlm"))

    @property
    def cell(self) -> Mapping[str, Any]:
        """What a sweep tells of it: options, prompt, num_fewshot and seed; empty for other runs."""
        return _mapping(self.plain.get("mdlm_cell"))

    @cached_property
    def model_args(self) -> Mapping[str, Any]:
        """As given."""
        return _arguments(self.config.get("model_args"))

    @cached_property
    def gen_kwargs(self) -> Mapping[str, Any]:
        """As given."""
        return _arguments(self.config.get("gen_kwargs"))

    @property
    def kind(self) -> str:
        """Of the model, as `--model` names it; a sweep hands lm_eval a model without a name."""
        known = self.plain.get("model_source") or self.config.get("model") or "unknown"
        return "mdlm" if self.record else str(known)

    @property
    def model(self) -> str:
        """Kind and name of the model."""
        return f"{self.kind} {self.plain.get('model_name') or ''}".strip()

    def effective(self, task: str) -> Mapping[str, Any]:
        """The options that acted on a task, for a model of this package."""
        return _mapping(_mapping(self.record.get("decoding_by_task")).get(task))

    @property
    def group_scores(self) -> Iterator[tuple[str, float]]:
        """Of every group of tasks: its name with metric and filter, and the number that lm_eval reports."""
        for group, metrics in _mapping(self.plain.get("groups")).items():
            for key, value in _mapping(metrics).items():
                name, comma, own_filter = key.partition(",")
                if comma and not name.endswith("_stderr") and counts(value):
                    words = [group, name, *([] if own_filter == "none" else [f"({own_filter})"])]
                    yield " ".join(words), float(value)

    def task_config(self, task: str) -> Mapping[str, Any]:
        """The task as lm_eval ran it."""
        return _mapping(_mapping(self.plain.get("configs")).get(task))


def read_results(path: Path) -> Mapping[str, Any]:
    """A results file as plain values.

    Raises:
        UsageError: If it is no results file, or none that can be read.
    """
    try:
        plain = json.loads(only_a_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not readable ({type(error).__name__}).") from error
    if not isinstance(plain, dict) or not all(isinstance(plain.get(part), dict) for part in ("results", "configs")):
        raise UsageError(f"{path}: no results of lm_eval; they have the keys 'results' and 'configs'.")
    return plain


def outcomes_of(plain: Mapping[str, Any], task: str, samples: Mapping[str, Sequence[Sample]]) -> list[Outcomes]:
    """What a results file says of one task, by filter in its own order.

    Args:
        plain: The results file.
        task: A name of its `configs`.
        samples: Of the task, by filter; empty where none were kept.
    """
    reported = _mapping(plain["results"].get(task))
    filters = dict.fromkeys(key.partition(",")[2] for key in reported if "," in key)
    found = []
    for own_filter in filters:
        lines = tuple(samples.get(own_filter, ()))
        metric = _metric(_mapping(plain["configs"].get(task)), reported, own_filter, lines)
        if metric is not None:
            found.append(_outcomes(plain, task, own_filter, metric, lines))
    return found


def _outcomes(plain: Mapping[str, Any], task: str, own_filter: str, metric: str, lines: tuple[Sample, ...]) -> Outcomes:
    reported = plain["results"][task]
    error = reported.get(f"{metric}_stderr,{own_filter}")
    nfe = reported.get(f"nfe,{own_filter}")
    higher = _mapping(_mapping(plain.get("higher_is_better")).get(task)).get(metric)
    return Outcomes(
        task=task,
        filter=own_filter,
        metric=metric,
        higher_is_better=higher is not False,
        mean=float(reported[f"{metric},{own_filter}"]),
        standard_error=float(error) if counts(error) else None,
        metrics={name: float(reported[f"{name},{own_filter}"]) for name in _metrics(reported, own_filter)},
        samples=lines,
        nfe=float(nfe) if counts(nfe) else None,
    )


def _metric(
    config: Mapping[str, Any], reported: Mapping[str, Any], own_filter: str, lines: Sequence[Sample]
) -> str | None:
    of_task = config.get("metric_list")
    listed = [str(one.get("metric")) for one in (of_task if isinstance(of_task, list) else ()) if isinstance(one, dict)]
    reports = _metrics(reported, own_filter)
    known = [name for name in listed if name in reports] or reports
    by_document = [name for name in known if lines and all(name in line.numbers for line in lines)]
    return next(iter([*by_document, *known]), None)


def _metrics(reported: Mapping[str, Any], own_filter: str) -> list[str]:
    """Names of numbers that are neither counts nor errors."""
    names = [key.partition(",")[0] for key in reported if key.endswith(f",{own_filter}")]
    known = [name for name in names if not name.endswith("_stderr") and name not in COUNTS]
    return [name for name in known if counts(reported[f"{name},{own_filter}"])]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _arguments(value: Any) -> Mapping[str, Any]:
    """Of lm_eval's command line: a mapping, or in older files `a=1,b=2`."""
    if isinstance(value, str):
        pairs = (part.partition("=") for part in value.split(",") if part.strip())
        return {name.strip(): given for name, _, given in pairs}
    return _mapping(value)
