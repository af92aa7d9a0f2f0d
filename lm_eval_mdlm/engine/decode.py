"""The denoising loop, and the scheduler that keeps it full: finished rows leave and waiting ones take their place."""

import dataclasses
import itertools
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from ..backbones.shortage import is_out_of_memory
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
    """Rows decoded together; None for as many as the other limits allow."""
    max_tokens: int | None = None
    """Tokens that a packed pass computes; None for as many as `max_rows` rows have."""
    max_held: int | None = None
    """Positions whose keys and values are kept between passes, of all rows with a cache together; None for any."""
    refill: bool = True
    """Whether a waiting row may join rows that are under way. False decodes one batch after the other, each as slow
    as its slowest row: only good to measure what refilling gains and to test that it changes no result."""

    def halved(self, tokens: int, held: int) -> "Budget":
        """The budget after a pass of so many tokens did not fit into memory beside so many held positions."""
        return dataclasses.replace(self, max_tokens=tokens // 2, max_held=held // 2 if held else self.max_held)


def decode(readout: Readout, queue: Iterable[tuple[Key, RowPlan]], budget: Budget) -> Iterator[tuple[Key, Row]]:
    """Decode every plan that the queue gives; yields each row with its key as soon as it is finished.

    Rows are admitted in the queue's order, and a plan is drawn only when there may be room for it. Which rows share a
    pass changes nothing in any row's result. When a pass runs out of memory, all that only saves time is given up; when
    that is not enough, the budget is halved for the rest of the run. The pass is repeated, with fewer rows if need be;
    no row loses or repeats a step by it.

    Args:
        readout: Reads the network.
        queue: Pairs of a key of the caller's and a plan, such as `enumerate(plans)`.
        budget: Limits of a pass.

    Raises:
        UsageError: If a single row does not fit into memory, or the network returns NaN.
    """
    rows = Schedule(((key, Row(plan)) for key, plan in queue), budget, readout.backbone.lookback)
    while True:
        rows.fill()
        going = rows.of_next_pass()
        if not going:
            return
        if not _fits(readout, [row for _, row in going]):
            rows.set_aside(going)
            _make_room(readout, [row for _, row in going], rows)
            continue
        rows.passed(going)
        yield from (pair for pair in going if pair[1].done)


class Schedule(Generic[Key]):
    """Which rows are live, which wait, and which take part in the next pass."""

    def __init__(self, arriving: Iterator[tuple[Key, Row]], budget: Budget, lookback: int) -> None:
        """Rows come from `arriving`, with their keys; `lookback` is the backbone's."""
        self.budget = budget
        self._arriving, self._lookback = arriving, lookback
        self._waiting: deque[tuple[Key, Row]] = deque()
        self._live: list[tuple[Key, Row]] = []
        """Those that did not take part in the last pass come first."""
        self.failures: list[list[Row]] = []
        """Rows of each pass that did not fit since one did."""

    def held(self, without: Row | None = None) -> int:
        """Positions of memory that rows hold or, being live, are about to."""
        live = [row for _, row in self._live]
        holding = live + [row for _, row in self._waiting if row.slots]
        return sum(row.plan.held_positions for row in holding if row is not without)

    def tokens(self, rows: Iterable[Row]) -> int:
        """What a pass over these rows computes."""
        return sum(row.tokens_of_next_pass(self._lookback) for row in rows)

    def fill(self) -> None:
        """Make waiting rows live while there is room; at most one is drawn from `arriving` without being admitted."""
        if self._live and not self.budget.refill:
            return
        while not self._live or self.budget.max_rows is None or len(self._live) < self.budget.max_rows:
            self._waiting.extend(itertools.islice(self._arriving, 0 if self._waiting else 1))
            if not self._waiting or not self._admits(self._waiting[0][1]):
                return
            self._live.append(self._waiting.popleft())

    def _admits(self, row: Row) -> bool:
        """Whether this row, if there is a place for it, fits beside the live ones."""
        if not self._live:
            return True
        limits, own = self.budget, row.plan.held_positions
        # What a row holds already cannot be too much.
        if limits.max_held is not None and own and not row.slots and self.held() + own > limits.max_held:
            return False
        return limits.max_tokens is None or self.tokens([*(row for _, row in self._live), row]) <= limits.max_tokens

    def of_next_pass(self) -> list[tuple[Key, Row]]:
        """As many live rows as a pass may compute, those that have waited first; the others keep what they hold.

        Rows without a cache always all fit. With one, several may come to a block's first pass, over whole canvases,
        at the same time.
        """
        room = self.budget.max_tokens
        if room is None:
            return list(self._live)
        going: list[tuple[Key, Row]] = []
        for pair in self._live:
            tokens = self.tokens([pair[1]])
            if not going or tokens <= room:
                going.append(pair)
                room -= tokens
        return going

    def passed(self, going: Sequence[tuple[Key, Row]]) -> None:
        """These rows have done their step: those that are done leave, the others queue behind those that waited."""
        self.failures = []
        took_part = {id(row) for _, row in going}
        waited = [pair for pair in self._live if id(pair[1]) not in took_part]
        self._live = waited + [pair for pair in going if not pair[1].done]

    def set_aside(self, failed: Sequence[tuple[Key, Row]]) -> None:
        """Let all live rows wait, with all that they have done so far, and ahead of new ones.

        A row that did not fit by itself comes behind all that hold slots, which they give back when they are done.
        """
        self.failures.append([row for _, row in failed])
        last = list(failed) if len(failed) == 1 else []
        others = [pair for pair in self._live if pair not in last]
        holding = [pair for pair in self._waiting if last and pair[1].slots]
        rest = [pair for pair in self._waiting if pair not in holding]
        self._waiting, self._live = deque([*others, *holding, *last, *rest]), []

    def drop_what_is_written_anew(self) -> None:
        """Give back the slots of rows whose next pass is over the whole canvas."""
        for _, row in (*self._live, *self._waiting):
            if not row.is_partial:
                row.slots = []


def _fits(readout: Readout, rows: Sequence[Row]) -> bool:
    """Advance every row by one step; False, with no row changed, if memory ran out."""
    try:
        step(readout, rows)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        # Memory is freed by the caller: while the error is handled, its frames hold the tensors of the pass.
        return False
    return True


def _make_room(readout: Readout, rows: Sequence[Row], schedule: "Schedule[Any]") -> None:
    """Give up what only saves time after a pass of these rows did not fit, or make later passes smaller.

    Raises:
        UsageError: If nothing is left to give up.
    """
    device, tokens, held = readout.backbone.device, schedule.tokens(rows), schedule.held()
    schedule.drop_what_is_written_anew()
    freed = readout.backbone.give_up()
    held_by_others = schedule.held(without=rows[0])
    if device.type == "cuda":
        torch.cuda.empty_cache()
    # A freed slot is reserved again at once, so that what was freed only counts once before something has to shrink.
    times = schedule.failures.count(list(rows))
    if freed and (len(schedule.failures) == 1 or (len(rows) == 1 and times == 1)):
        change = "recordings and unused slots are given up"
    elif len(rows) > 1:
        schedule.budget = schedule.budget.halved(tokens, held)
        change = f"going on with at most {schedule.budget.max_tokens} per pass"
    elif held_by_others and times <= 2:
        schedule.budget = dataclasses.replace(schedule.budget, max_held=held_by_others)
        change = "the row waits for others to give back theirs"
    else:
        raise UsageError(
            f"a row of {tokens} canvas tokens per pass does not fit into the memory of {device}, even alone; "
            f"lower gen_length or max_length, use fewer few-shot examples, or free memory on the device."
        )
    logger.warning("out of memory on %s in a pass of %d tokens: %s; results do not change.", *(device, tokens, change))
