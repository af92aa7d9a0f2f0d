"""How an answer failed: a missing or cut answer is another thing than a wrong one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from .boards import Cell
from .runs import Outcomes
from .samples import UNREADABLE, Sample


class OutcomeClass(Enum):
    """In the order of the page."""

    RIGHT = "right"
    WRONG = "wrong"
    UNREADABLE = "unreadable"
    EXHAUSTED = "budget exhausted"
    EMPTY = "never begun"


MEANING = {
    OutcomeClass.RIGHT: "the metric counts it as right",
    OutcomeClass.WRONG: "an answer was read, and is not right",
    OutcomeClass.UNREADABLE: "the text holds something, but the filter found no answer in it",
    OutcomeClass.EXHAUSTED: "not right, and the text fills the whole region, or `max_nfe` ended it",
    OutcomeClass.EMPTY: "no text but spaces",
}


def classes_of(cells: Sequence[Cell]) -> Counter[OutcomeClass] | None:
    """How many rows of each class; None where the metric is not right or wrong, or no samples were kept."""
    found: Counter[OutcomeClass] = Counter()
    for cell in cells:
        if not set(cell.outcomes.scores.values()) <= {0.0, 1.0} or not cell.outcomes.higher_is_better:
            return None
        options = cell.run.effective(cell.outcomes.task)
        found.update(class_of(sample, cell.outcomes, options) for sample in cell.outcomes.samples)
    return found if found else None


def class_of(sample: Sample, outcomes: Outcomes, options: Mapping[str, Any]) -> OutcomeClass:
    """Of one row.

    Args:
        sample: Of `outcomes`.
        outcomes: Knows the metric.
        options: The effective ones of the run on the task; empty for other models, whose budget is not known.
    """
    if sample.numbers.get(outcomes.metric) == 1:
        return OutcomeClass.RIGHT
    if not any(text.strip() for text in sample.texts):
        return OutcomeClass.EMPTY
    if _is_exhausted(sample, options):
        return OutcomeClass.EXHAUSTED
    if all(reading.strip() in ("", UNREADABLE) for reading in sample.readings):
        return OutcomeClass.UNREADABLE
    return OutcomeClass.WRONG


def _is_exhausted(sample: Sample, options: Mapping[str, Any]) -> bool:
    if "cap" in sample.stops:
        return True
    tokens, length = sample.numbers.get("tokens"), options.get("gen_length")
    # A template's region always ends in its answer, which a full region does not cut.
    return tokens is not None and isinstance(length, int) and not options.get("template") and tokens >= length
