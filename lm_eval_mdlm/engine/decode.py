"""The denoising loop, and the scheduler that keeps it full: finished rows leave and waiting ones take their place."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .readout import Readout
from .row import Row, RowPlan
from .step import step


@dataclass(frozen=True)
class Budget:
    """How much a forward pass may hold. A single row always fits, so that every request is served."""

    max_rows: int | None = None
    """Rows decoded together; None for as many as `max_tokens` allows."""
    max_tokens: int | None = None
    """Tokens of a packed pass; None for as many as `max_rows` rows have."""

    def admits(self, live: Sequence[Row], plan: RowPlan) -> bool:
        """Whether one more row fits beside the live ones."""
        if not live:
            return True
        if self.max_rows is not None and len(live) >= self.max_rows:
            return False
        tokens = sum(row.plan.tokens_per_pass for row in live) + plan.tokens_per_pass
        return self.max_tokens is None or tokens <= self.max_tokens


def decode(readout: Readout, plans: Sequence[RowPlan], budget: Budget) -> Iterator[tuple[int, Row]]:
    """Decode every plan; yields each finished row with its index in `plans`, as soon as it is finished.

    Rows are admitted in the order given. Which rows share a pass changes nothing in any row's result.
    """
    waiting = deque(enumerate(plans))
    live: list[tuple[int, Row]] = []
    while waiting or live:
        while waiting and budget.admits([row for _, row in live], waiting[0][1]):
            index, plan = waiting.popleft()
            live.append((index, Row(plan)))
        step(readout, [row for _, row in live])
        yield from (pair for pair in live if pair[1].done)
        live = [pair for pair in live if not pair[1].done]
