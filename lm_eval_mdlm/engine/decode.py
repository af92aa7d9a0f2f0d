"""The question that decoding asks: fill one region, step by step."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from .filling import Filling
from .job import Work
from .loop import answer
from .not_finite import Failed
from .plan import RowPlan
from .readout import Readout
from .row import Row
from .schedule import Budget


Key = TypeVar("Key")
FILLING = Filling()


def decoding(plan: RowPlan) -> Work[Row]:
    """Decode one plan; ends with the finished row."""
    row = Row(plan, FILLING)
    yield [row]
    return row


def decode(
    readout: Readout, queue: Iterable[tuple[Key, RowPlan]], budget: Budget
) -> Iterator[tuple[Key, Row | Failed]]:
    """Decode every plan that the queue gives; yields each row with its key as soon as it is finished. See `answer`."""
    return answer(readout, ((key, decoding(plan)) for key, plan in queue), budget)
