"""What one evaluation asked for and got: the counts of every request, and the record in the results file.

Counts stand in a table beside the texts: what the harness, its filters and its metrics see are plain strings.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..errors import UsageError
from .evaluation import Started
from .stored import GREEDY, Counts, StoredResults


class Run:
    """One evaluation with one model. Requests are known by identity: the harness hands out each object once.

    Args:
        started: What the run was started with.
        seed: Of rows whose options name none.
        world_size: Number of processes.
        task_stats: Whether tasks of other packages report counts too.
        chat_template_source: Of the template that writes all contexts; None if none does.
        rendered: Hashes of texts that a chat template wrote before the run.
        effective_of: From a request to its options for the record.
        gold_score: Whether gold answers are scored where a request does not say.
    """

    def __init__(
        self,
        *,
        started: Started,
        seed: int,
        world_size: int,
        task_stats: bool,
        chat_template_source: str | None,
        rendered: Collection[int],
        effective_of: Callable[[Any, "Run"], Mapping[str, Any]],
        gold_score: bool = False,
    ) -> None:
        self.started, self.seed, self.gold_score, self.task_stats = started, seed, gold_score, task_stats
        self.stored = None if started.stored is None else StoredResults(started.stored)
        self.chat_template_source = chat_template_source
        self.nfe_by_process = [0] * world_size
        """Forward passes that each process ran for its rows, by rank."""
        self.failed_rows = 0
        """Requests of all processes for which the network returned no numbers."""
        self._effective_of = effective_of
        self._rendered = rendered
        self._counts: dict[int, tuple[Any, list[Counts]]] = {}
        self._options: dict[str, dict[str, dict[str, Any]]] = {}
        self._nominal: dict[str, dict[str, int | None]] = {}
        self._totals: Counter[str] = Counter(requests=0, from_cache=0, from_journal=0, nfe=0, tokens=0, seconds=0)
        self._output_types = {str(task.config.task): task.OUTPUT_TYPE for task in started.tasks}
        self._matches_exactly = {str(task.config.task) for task in started.tasks if _matches_exactly(task)}

    def has_rendered(self, context: str) -> bool:
        """Whether a chat template wrote this context; in a run with `--apply_chat_template` it wrote all of them."""
        return self.chat_template_source is not None or hash(context) in self._rendered

    def wants_greedy(self, request: Any) -> bool:
        """Whether a pair's task asks if greedy decoding gives the continuation; its other metrics never look."""
        name = str(request.task_name)
        return self._output_types.get(name) != "multiple_choice" or name in self._matches_exactly

    def use(self, task_name: str, effective: Mapping[str, Any]) -> None:
        """Note the options of one request."""
        values = self._options.setdefault(task_name, {})
        for name, value in effective.items():
            values.setdefault(name, {})[json.dumps(value)] = value

    def promise(self, task_name: str, nominal_nfe: int | None) -> None:
        """Note the passes that one request takes if nothing ends it early; None where the network decides."""
        self._nominal.setdefault(task_name, {})[json.dumps(nominal_nfe)] = nominal_nfe

    def count(self, request: Any, counts: Counts, *, from_cache: bool = False, from_journal: bool = False) -> None:
        """Note the counts of one response to a request, in the order of its repeats.

        Those beyond `repeats` belong to padding, by which the harness keeps processes in step, and are left out.
        """
        _, known = self._counts.setdefault(id(request), (request, []))
        if len(known) < (request.repeats or 1):
            known.append(counts)
            self._totals.update(requests=1, from_cache=int(from_cache), from_journal=int(from_journal))
            self._totals.update(nfe=int(counts["nfe"]), tokens=int(counts.get("tokens", 0)))

    def recall(self, request: Any) -> None:
        """Take the counts of a request that `--use_cache` has answered; the model never saw it.

        Raises:
            UsageError: If the cache has a pair without what its task asks of it.
        """
        if self.stored is None or id(request) in self._counts:
            return
        counts = self.stored.counts(request)
        if counts is not None:
            if request.request_type == "loglikelihood" and self.wants_greedy(request) and not counts.get(GREEDY):
                raise UsageError(
                    f"{request.task_name}: --use_cache holds one of its pairs from another task, which did not ask "
                    f"whether greedy decoding gives it; name another file, or use --model_args journal=DIR."
                )
            self.use(str(request.task_name), self._effective_of(request, self))
            for _ in range(request.repeats or 1):
                self.count(request, counts, from_cache=True)

    def counts_of(self, request: Any) -> Sequence[Counts]:
        """Of every response to a request; empty if it has not been answered."""
        return self._counts.get(id(request), (request, []))[1]

    def take(self, seconds: float, nfe_by_process: Sequence[int]) -> None:
        """Add the time that requests took, and the passes that each process ran for them."""
        self._totals["seconds"] += round(seconds)
        self.nfe_by_process = [old + new for old, new in zip(self.nfe_by_process, nfe_by_process, strict=True)]

    def record(self) -> dict[str, Any]:
        """For the results file."""
        by_task = {
            task: {name: _one_or_all(list(values.values())) for name, values in options.items()}
            for task, options in self._options.items()
        }
        return {
            "decoding_by_task": by_task,
            "nominal_nfe_by_task": {task: _one_or_all(list(own.values())) for task, own in self._nominal.items()},
            "totals_of_rank_0": dict(self._totals),
            "nfe_by_process": list(self.nfe_by_process),
            "failed_rows": self.failed_rows,
        }


def _matches_exactly(task: Any) -> bool:
    """Whether a multiple-choice task looks at greedy decoding after all."""
    return "exact_match" in (getattr(task, "_metric_fn_list", None) or ())


def _one_or_all(values: list[Any]) -> Any:
    """A value that all requests share as it is; different ones together, in the order of their first use."""
    return values[0] if len(values) == 1 else {"varies": values}
