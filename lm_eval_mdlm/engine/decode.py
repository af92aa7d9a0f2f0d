"""The denoising loop, and the scheduler that keeps it full: finished rows leave and waiting ones take their place."""

import dataclasses
import itertools
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..errors import UsageError
from .readout import Readout
from .row import Row, RowPlan
from .step import step


logger = logging.getLogger("lm_eval.mdlm")
Key = TypeVar("Key")


@dataclass(frozen=True)
class Budget:
    """How much a forward pass may hold. A single row is always admitted, so that every request is served."""

    max_rows: int | None = None
    """Rows decoded together; None for as many as `max_tokens` allows."""
    max_tokens: int | None = None
    """Tokens of a packed pass; None for as many as `max_rows` rows have."""
    refill: bool = True
    """Whether a waiting row may join rows that are under way. False decodes one batch after the other, each as slow
    as its slowest row: only good to measure what refilling gains and to test that it changes no result."""

    def has_place(self, live: Sequence[Row]) -> bool:
        """Whether one more row, if small enough, fits beside the live ones."""
        return not live or self.max_rows is None or len(live) < self.max_rows

    def admits(self, live: Sequence[Row], row: Row) -> bool:
        """Whether this row fits beside the live ones."""
        fits = self.max_tokens is None or _tokens([*live, row]) <= self.max_tokens
        return not live or (fits and self.has_place(live))

    def halved(self, rows: Sequence[Row]) -> "Budget":
        """The budget after a pass over `rows` did not fit into memory."""
        return dataclasses.replace(self, max_tokens=_tokens(rows) // 2)


def decode(readout: Readout, queue: Iterable[tuple[Key, RowPlan]], budget: Budget) -> Iterator[tuple[Key, Row]]:
    """Decode every plan that the queue gives; yields each row with its key as soon as it is finished.

    Rows are admitted in the queue's order, and a plan is drawn only when there may be room for it. Which rows share a
    pass changes nothing in any row's result. When a pass runs out of memory, the token budget is halved for the rest
    of the run and the pass is repeated with fewer rows; no row loses or repeats a step by it.

    Args:
        readout: Reads the network.
        queue: Pairs of a key of the caller's and a plan, such as `enumerate(plans)`.
        budget: Limits of a pass.

    Raises:
        UsageError: If a single row does not fit into memory, or the network returns NaN.
    """
    arriving = ((key, Row(plan)) for key, plan in queue)
    waiting: deque[tuple[Key, Row]] = deque()
    live: list[tuple[Key, Row]] = []
    while True:
        if budget.refill or not live:
            _fill(live, waiting, arriving, budget)
        if not live:
            return
        rows = [row for _, row in live]
        if not _fits(readout, rows):
            budget = _after_failure(readout, rows, budget)
            waiting.extendleft(reversed(live))  # with all that they have done so far, and ahead of new rows
            live = []
            continue
        yield from (pair for pair in live if pair[1].done)
        live = [pair for pair in live if not pair[1].done]


def _fill(
    live: list[tuple[Key, Row]],
    waiting: deque[tuple[Key, Row]],
    arriving: Iterator[tuple[Key, Row]],
    budget: Budget,
) -> None:
    """Add rows to `live` while there is room; at most one is drawn from `arriving` without being admitted."""
    rows = [row for _, row in live]
    while budget.has_place(rows):
        waiting.extend(itertools.islice(arriving, 0 if waiting else 1))
        if not waiting or not budget.admits(rows, waiting[0][1]):
            return
        live.append(waiting.popleft())
        rows.append(live[-1][1])


def _fits(readout: Readout, rows: Sequence[Row]) -> bool:
    """Advance every row by one step; False, with no row changed, if memory ran out."""
    try:
        step(readout, rows)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        # Memory is freed by the caller: while the error is handled, its frames hold the tensors of the pass.
        return False
    return True


def _is_out_of_memory(error: RuntimeError) -> bool:
    # Libraries below torch, and recordings, say it in words only.
    told = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in told or "ALLOC_FAILED" in told


def _after_failure(readout: Readout, rows: Sequence[Row], budget: Budget) -> Budget:
    """A budget to go on with; UsageError if there is none."""
    device = readout.backbone.device
    if len(rows) == 1:
        raise UsageError(
            f"a row of {_tokens(rows)} canvas tokens per pass does not fit into the memory of {device}, even alone; "
            f"lower gen_length or max_length, use fewer few-shot examples, or free memory on the device."
        )
    if device.type == "cuda":
        torch.cuda.empty_cache()
    smaller = budget.halved(rows)
    logger.warning(
        "out of memory on %s in a pass of %d tokens: going on with at most %d per pass; results do not change.",
        *(device, _tokens(rows), smaller.max_tokens),
    )
    return smaller


def _tokens(rows: Iterable[Row]) -> int:
    return sum(row.plan.tokens_per_pass for row in rows)
