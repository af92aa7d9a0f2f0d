"""How a row's counts get from a run to the results table and the samples file, for tasks of any class.

lm_eval has no channel for numbers beside a generated text. While an evaluation with a model of this package is under
way, each of its tasks has its class replaced by one that asks the run's table besides; afterwards it has its own again.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask, Task

from ..errors import UsageError
from .documents import (
    asks_for_gold_score,
    digest_of_prompts,
    fill_in_documents,
    leave_out_options_of_mdlm,
    name_gold_answers,
)
from .evaluation import is_of_another_model, run_under_way, watch_evaluations
from .reporting import HIGHER_IS_BETTER, Reporting, of_document, stop_of
from .run import Run
from .stored import FAILED_ROWS, Counts


watch_evaluations()  # for evaluations that import this package only as they load their tasks


class Counted(Task):  # type: ignore[misc]  # of its kind, so that an object of a task's class can take this as its own
    """In front of a task's own class: reports the counts, averaged over repeats, beside the task's own metrics.

    Without a run under way every method is the task's own.
    """

    mdlm_reporting: Reporting | None = None
    """Set once the requests have been answered, if counts are to be reported."""

    def build_all_requests(self: Any, **kwargs: Any) -> None:
        """Also: prompts from a cache are made of these very documents, and templates are filled in from them."""
        run = run_under_way()
        if run is None:
            super().build_all_requests(**kwargs)  # type: ignore[misc]
            return
        _check_every_rank_has_a_doc(self, kwargs)
        if kwargs.get("cache_requests"):
            kwargs["tokenizer_name"] = f"{kwargs.get('tokenizer_name', '')}-{digest_of_prompts(self, run, kwargs)}"
        super().build_all_requests(**kwargs)  # type: ignore[misc]
        fill_in_documents(self, run.started.gen_kwargs)
        name_gold_answers(self, run)

    def apply_filters(self: Any) -> Any:
        """Also: answers to padding requests are dropped, and stored texts get their counts."""
        run = run_under_way()
        if run is not None:
            for instance in self.instances:
                # A process with fewer documents repeats its last request so that all have as many; those answers were
                # added to the document's own, where they would show in the samples and count in pass@k.
                del instance.resps[instance.repeats or 1 :]
                run.recall(instance)
            self.mdlm_reporting = _reporting(self, run)
        return super().apply_filters()  # type: ignore[misc]

    def doc_iterator(self: Any, **kwargs: Any) -> Iterator[tuple[int, Any]]:
        """Also: remembers which document it has given out."""
        reporting = self.mdlm_reporting
        if reporting is not None:
            reporting.start()
        for doc_id, doc in super().doc_iterator(**kwargs):  # type: ignore[misc]
            if reporting is not None:
                reporting.doc_id = doc_id
            yield doc_id, doc

    def process_results(self: Any, doc: Any, results: Any) -> Any:
        """The task's own metrics, and the counts."""
        own = super().process_results(doc, results)  # type: ignore[misc]
        return own if self.mdlm_reporting is None else self.mdlm_reporting.scored(own, super())

    def aggregation(self: Any) -> dict[str, Any]:
        """Means of the counts, and the number of failed rows, unless the task has a metric of that name."""
        # `mean` itself, not a copy of it: lm_eval knows its standard error in closed form.
        ours = {**dict.fromkeys(HIGHER_IS_BETTER, mean), FAILED_ROWS: sum}
        return self.mdlm_beside(super().aggregation(), ours)  # type: ignore[misc,no-any-return]

    def higher_is_better(self: Any) -> dict[str, Any]:
        """Directions of the counts, unless the task has a metric of that name."""
        return self.mdlm_beside(super().higher_is_better(), HIGHER_IS_BETTER)  # type: ignore[misc,no-any-return]

    def mdlm_beside(self: Any, own: dict[str, Any], of_counts: Mapping[str, Any]) -> dict[str, Any]:
        """A dictionary of the task's own with entries for the counts behind, if there are any."""
        if self.mdlm_reporting is None:
            return own
        return {**own, **{name: value for name, value in of_counts.items() if name not in own}}


class MDLMTask(Counted, ConfigurableTask):  # type: ignore[misc]
    """A task of this project: `class: !function lm_eval_mdlm.harness.task.MDLMTask` in its YAML."""

    def __init__(self, config: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(config={k: v for k, v in (config or {}).items() if k != "class"}, **kwargs)

    def build_all_requests(self, **kwargs: Any) -> None:
        """For another package's model: without the options that only this package's models have."""
        super().build_all_requests(**kwargs)
        if is_of_another_model():
            leave_out_options_of_mdlm(self.config.task, self.instances)

    def apply_filters(self) -> Any:
        """Also: what scores this rank's documents learns of all of them before the first, if it wants to."""
        filtered = super().apply_filters()
        prefetch = getattr(self.config.process_results, "prefetch", None)
        if prefetch is not None:
            prefetch(_answered(self.instances))
        return filtered


@contextmanager
def counted(tasks: Sequence[Any]) -> Iterator[None]:
    """For a time, let tasks of any class report counts."""
    own_classes = [(task, type(task)) for task in tasks if not isinstance(task, Counted)]
    try:
        for task, own in own_classes:
            task.__class__ = _counted(own)  # type: ignore[arg-type]
        yield
    finally:
        for task, own in own_classes:
            task.__class__ = own
        for task in tasks:
            vars(task).pop("mdlm_reporting", None)


@functools.cache
def _counted(own: type) -> type:
    return type(own.__name__, (Counted, own), {"__module__": own.__module__, "__doc__": own.__doc__})


def _reporting(task: Any, run: Run) -> Reporting | None:
    """Of the counts of every document; None where there are none, or they are not to be reported."""
    all_counts = run.task_stats or isinstance(task, MDLMTask)
    if not (all_counts or run.failed_rows):
        return None
    texts: dict[int, list[Counts]] = {}
    scores: dict[int, list[Counts]] = {}
    for instance in task.instances:
        if counts := run.counts_of(instance):
            kind = texts if instance.request_type == "generate_until" else scores
            kind.setdefault(instance.doc_id, []).extend(counts)
    by_doc = {doc_id: of_document(texts.get(doc_id, []), scores.get(doc_id, [])) for doc_id in {**texts, **scores}}
    if run.failed_rows:  # the same in all processes, each of which has to have every metric
        for own in by_doc.values():
            own.setdefault(FAILED_ROWS, 0)
    if not all_counts:
        by_doc = {doc_id: {FAILED_ROWS: own[FAILED_ROWS]} for doc_id, own in by_doc.items()}
    elif len(run.nfe_by_process) > 1 and any(asks_for_gold_score(instance) for instance in task.instances):
        _show_that_none_has_a_gold_score(by_doc)
    stops = {doc_id: stop_of(own) for doc_id, own in texts.items() if all("stop" in counts for counts in own)}
    # Not `task_name`, which draws from the global generator, as some tasks do to shuffle their choices.
    return Reporting(str(task.config.task), by_doc, stops) if by_doc else None


def _show_that_none_has_a_gold_score(by_doc: Mapping[int, Counts]) -> None:
    """By NaN, which then stands in the table, if that is so in this one of several processes.

    lm_eval takes it for granted that every process has every metric, and would end the run without results.
    """
    if not any("gold_logprob" in counts for counts in by_doc.values()):
        for counts in by_doc.values():
            counts["gold_logprob"] = math.nan


def _answered(instances: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
    """Every document with what `process_results` will get for it, under every filter."""
    by_doc: dict[int, list[Any]] = {}
    for instance in instances:
        by_doc.setdefault(instance.doc_id, []).append(instance)
    groups = [sorted(own, key=lambda instance: instance.idx) for own in by_doc.values()]
    names = instances[0].filtered_resps
    return [(own[0].doc, [instance.filtered_resps[name] for instance in own]) for name in names for own in groups]


def _check_every_rank_has_a_doc(task: Any, asked: dict[str, Any]) -> None:
    """lm_eval itself fails inside a rank without documents, and the other ranks wait for it."""
    world_size: int = asked.get("world_size") or 1
    limit, samples = asked.get("limit"), asked.get("samples")
    if world_size > 1:
        docs = len(samples) if samples is not None else len(task.eval_docs)
        docs = docs if limit is None else min(docs, limit)
        if docs < world_size:
            raise UsageError(
                f"{task.config.task} has {docs} documents for {world_size} processes and each needs at least one; "
                f"raise --limit or start fewer processes."
            )
