"""What the harness is told of a document beside the task's own scores: the counts of its rows."""

import logging
from collections import Counter
from collections.abc import ItemsView, KeysView, Mapping, Sequence
from typing import Any

from ..engine.record import STOPS
from .stored import FAILED_ROWS, Counts


logger = logging.getLogger("lm_eval.mdlm")
HIGHER_IS_BETTER: dict[str, bool | None] = {
    "nfe": False,
    "nfe_partial": False,
    "nfe_saved": True,
    "tokens": None,
    "tokens_per_forward": True,
    "early_exit": None,
    "exit_step": None,
    "answer_entropy": False,
    "gold_logprob": True,
    "truncated": False,
    "likelihood_se": False,
    "failed_rows": False,
}
"""The counts of docs/semantics.md as metrics; None where neither direction is better."""
ADDED_UP = ("nfe", "nfe_partial", "nfe_saved")
"""Counts of a document's likelihoods that are added up; of the others the mean is taken. `failed_rows` is added up over
texts and documents too."""


def of_document(texts: Sequence[Counts], scores: Sequence[Counts]) -> Counts:
    """One document's counts from those of its texts, of which it has the mean, and of its likelihoods."""
    counts = _means(texts)
    for name, value in _means(scores).items():
        total = value * sum(name in one for one in scores) if name in ADDED_UP else value
        counts[name] = counts.get(name, 0) + total if name in ADDED_UP else counts.get(name, total)
    if FAILED_ROWS in counts:
        counts[FAILED_ROWS] = sum(row.get(FAILED_ROWS, 0) for row in (*texts, *scores))
    return counts


def stop_of(texts: Sequence[Counts]) -> str | list[str]:
    """Why the rows of one document stopped, in words: of one row, or of several in their order."""
    stops = [STOPS[int(counts["stop"])] for counts in texts]
    return stops[0] if len(stops) == 1 else stops


def _means(rows: Sequence[Counts]) -> Counts:
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {name: sum(own) / len(own) for name, own in values.items()}


class Scored(dict[str, Any]):
    """A document's scores and counts. The harness takes a sample's line from the whole, the table from `items()`."""

    def __init__(
        self, own: Mapping[str, Any], counts: Mapping[str, float], words: Mapping[str, Any], *, in_table: bool
    ) -> None:
        super().__init__({**words, **own, **counts})
        self._metrics = {**own, **counts}
        self._for_table = {**own, **(counts if in_table else {})}

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """What a sample's line names as its metrics; words are none."""
        return self._metrics.keys()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """What the table is made of."""
        return self._for_table.items()


class Reporting:
    """The counts of one task in one run.

    A count never takes the name of a task's own metric. Nor do counts of more documents than the task's most frequent
    metric get into the table: lm_eval takes the longest list of values for the number of documents, which is the
    weight of the task in its groups, so that more of them would change the groups' scores. That only happens to tasks
    that leave scores out for some documents; the lines of the samples hold all counts.

    Args:
        task_name: For a line to the user.
        by_doc: The counts of every document.
        stops: Why its rows stopped, for every document that has texts.
    """

    def __init__(self, task_name: str, by_doc: Mapping[int, Counts], stops: Mapping[int, str | list[str]]) -> None:
        self._task_name, self._by_doc, self._stops = task_name, by_doc, stops
        self.doc_id: int | None = None
        """Of the document being scored: `process_results` is told the document, but not which one it is."""
        self._own_names: frozenset[str] | None = None
        self._has_said = False
        self.start()

    def start(self) -> None:
        """Begin with the first document, as the harness does for each filter."""
        self._num_scored: Counter[str] = Counter()
        self._num_in_table = 0

    def scored(self, own: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        """What a document is to be reported with.

        Args:
            own: Its scores by the task's own code.
            task: Is asked for its own metrics once, and only after it has scored a document, as lm_eval does.
        """
        known = self._by_doc.get(self.doc_id) if self.doc_id is not None else None
        if not known:
            return own
        if self._own_names is None:
            self._own_names = frozenset(task.aggregation())
        counts = {n: known[n] for n in HIGHER_IS_BETTER if n in known and n not in self._own_names | own.keys()}
        self._num_scored.update(list(own))
        in_table = self._num_in_table < max(self._num_scored.values(), default=0)
        self._num_in_table += in_table
        if not in_table and not self._has_said:
            self._has_said = True
            logger.warning(
                "%s: its metrics leave documents out, and the table has the mean counts of no more documents than its "
                "most frequent metric; --log_samples writes those of all.",
                self._task_name,
            )
        stop = self._stops.get(self.doc_id) if self.doc_id is not None else None
        return Scored(own, counts, {} if stop is None else {"stop": stop}, in_table=in_table)
