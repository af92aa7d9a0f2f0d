"""How a row's counts travel from the model to the results table, the samples file and every cache.

lm_eval has no channel for numbers beside a generated text, so the text carries them: a `str` that survives pickling,
and with it `--use_cache`, and that a task reads back from its raw responses, whatever its filters made of them.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

from ..engine.record import Generation
from ..errors import UsageError


HIGHER_IS_BETTER: dict[str, bool | None] = {
    "nfe": False,
    "nfe_partial": False,
    "tokens": None,
    "tokens_per_forward": True,
    "early_exit": None,
    "exit_step": None,
    "answer_entropy": False,
    "truncated": False,
}
"""The counts of docs/semantics.md section 9 as metrics; None where neither direction is better."""


class CountedText(str):
    """A generated text with the counts of its row."""

    stats: dict[str, int | float]

    def __new__(cls, text: str, stats: dict[str, int | float]) -> "CountedText":
        """The text itself, carrying `stats`."""
        self = super().__new__(cls, text)
        self.stats = dict(stats)
        return self

    @classmethod
    def of(cls, generation: Generation) -> "CountedText":
        """The returned text of a finished row."""
        return cls(generation.text or "", generation.stats)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.stats)


def stats_by_doc(task: Any) -> dict[int, list[dict[str, int | float]]]:
    """The counts of every response, by document."""
    found: dict[int, list[dict[str, int | float]]] = {}
    for instance in getattr(task, "instances", None) or []:
        for response in instance.resps:
            if isinstance(response, CountedText):
                found.setdefault(instance.doc_id, []).append(response.stats)
    return found


_EXTENDED = (
    "build_all_requests",
    "apply_filters",
    "doc_iterator",
    "process_results",
    "aggregation",
    "higher_is_better",
)


def add_stats(cls: type) -> type:
    """Make a task class report the counts, averaged over repeats, beside its own metrics. Idempotent."""
    if "mdlm_stats" in vars(cls):
        return cls
    original: dict[str, Callable[..., Any]] = {name: getattr(cls, name) for name in _EXTENDED}

    def build_all_requests(self: Any, *, limit: Any = None, samples: Any = None, **kwargs: Any) -> None:
        _check_every_rank_has_a_doc(self, limit, samples, kwargs.get("world_size", 1))
        original["build_all_requests"](self, limit=limit, samples=samples, **kwargs)
        if kwargs.get("cache_requests") and self.OUTPUT_TYPE == "generate_until":
            _give_own_generation_kwargs(self)
        if type(self).process_results is not vars(cls)["process_results"]:
            add_stats(type(self))  # a class that scores by itself, and perhaps without asking its parent

    def apply_filters(self: Any) -> Any:
        # A process with fewer documents repeats its last request so that all have as many; those answers were added
        # to the document's own, where they would show in the samples and count in pass@k.
        for instance in self.instances:
            del instance.resps[instance.repeats or 1 :]
        return original["apply_filters"](self)

    def doc_iterator(self: Any, **kwargs: Any) -> Iterator[tuple[int, Any]]:
        self.mdlm_stats = stats_by_doc(self)
        for doc_id, doc in original["doc_iterator"](self, **kwargs):
            self.mdlm_doc_id = doc_id  # process_results is told the document, but not which one it is
            yield doc_id, doc

    def process_results(self: Any, doc: Any, results: Any) -> dict[str, Any]:
        metrics = dict(original["process_results"](self, doc, results))
        rows = self.mdlm_stats.get(self.mdlm_doc_id, [])
        for name in HIGHER_IS_BETTER:
            values = [row[name] for row in rows if name in row]
            if values:
                metrics.setdefault(name, sum(values) / len(values))
        return metrics

    def aggregation(self: Any) -> dict[str, Any]:
        # `mean` itself, not a copy of it: lm_eval knows its standard error in closed form.
        return {**dict.fromkeys(HIGHER_IS_BETTER, mean), **original["aggregation"](self)}

    def higher_is_better(self: Any) -> dict[str, Any]:
        return {**(HIGHER_IS_BETTER if self.mdlm_stats else {}), **original["higher_is_better"](self)}

    setattr(cls, "mdlm_stats", {})  # noqa: B010  new attributes of somebody else's class
    setattr(cls, "mdlm_doc_id", None)  # noqa: B010
    methods = (build_all_requests, apply_filters, doc_iterator, process_results, aggregation, higher_is_better)
    for name, method in zip(_EXTENDED, methods, strict=True):
        setattr(cls, name, method)
    return cls


def _give_own_generation_kwargs(task: Any) -> None:
    """lm_eval's key of `--cache_requests` does not hold them, so those of the cached run would act."""
    for instance in task.instances:
        context, _, *more = instance.arguments
        instance.arguments = (context, copy.deepcopy(task.config.generation_kwargs), *more)


def _check_every_rank_has_a_doc(task: Any, limit: int | None, samples: Any, world_size: int) -> None:
    """lm_eval itself fails inside a rank without documents, and the other ranks wait for it."""
    if world_size > 1:
        docs = len(samples) if samples is not None else len(task.eval_docs)
        docs = docs if limit is None else min(docs, limit)
        if docs < world_size:
            raise UsageError(
                f"{task.config.task} has {docs} documents for {world_size} processes and each needs at least one; "
                f"raise --limit or start fewer processes."
            )


class MDLMTask(ConfigurableTask):  # type: ignore[misc]
    """A task of this project: `class: !function lm_eval_mdlm.harness.task.MDLMTask` in its YAML."""

    def __init__(self, config: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(config={k: v for k, v in (config or {}).items() if k != "class"}, **kwargs)


add_stats(MDLMTask)
