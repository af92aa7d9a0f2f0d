"""One pool of requests for all processes, so that they finish together however unequal their rows are."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..backbones.backbone import Backbone
from ..engine.decode import Budget
from ..engine.record import Generation
from ..engine.row import RowPlan
from ..options.decoding import DecodingConfig
from .planning import plan_row
from .processes import ProcessGroup


Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class RowRequest:
    """What a row is planned from. It travels between processes, which a plan with its tokenizer cannot."""

    prompt_ids: Sequence[int]
    config: DecodingConfig
    repeat: int = 0
    """Tells apart several samples of the same request."""

    def plan(self, backbone: Backbone) -> RowPlan:
        """The same plan in every process; UsageError if the options do not fit the backbone."""
        return plan_row(backbone, self.prompt_ids, self.config, self.repeat)


@dataclass(frozen=True)
class Ticket:
    """Names one request of the pool."""

    owner: int
    """Rank of the process that asked."""
    index: int
    """Place among its requests."""


@dataclass(frozen=True)
class Totals:
    """What all processes have finished so far."""

    rows: int
    nfe: int
    tokens: int


class Pool:
    """The requests of all processes; each is drawn by exactly one of them.

    A process draws its own requests first and then what the others have not begun. So results are mostly where they
    are wanted at once, which keeps an interrupted run's cache useful, and the work is shared out where it matters, at
    the end. A row's result does not depend on who decodes it: its random numbers come from its content.

    Args:
        group: The processes; making a pool is collective.
        sections: The requests of every process, by rank; the same in all processes.
    """

    def __init__(self, group: ProcessGroup, sections: Sequence[Sequence[RowRequest]]) -> None:
        self._rank = group.rank
        self._sections = sections
        self._counters = group.counters()

    def __len__(self) -> int:
        return sum(map(len, self._sections))

    def draw(self, backbone: Backbone) -> Iterator[tuple[Ticket, RowPlan]]:
        """This process's share, planned when it is asked for; ends when nothing is left anywhere."""
        num = len(self._sections)
        for owner in [(self._rank + i) % num for i in range(num)]:
            while (index := self._counters.add(f"drawn/{owner}", 1) - 1) < len(self._sections[owner]):
                yield Ticket(owner, index), self._sections[owner][index].plan(backbone)

    def closed_on_error(self, work: Callable[[], Result]) -> Result:
        """What `work` returns; if it fails, no process draws anything more."""
        try:
            return work()
        except Exception:
            for owner, section in enumerate(self._sections):
                self._counters.add(f"drawn/{owner}", len(section))
            raise

    def within(self, budget: Budget) -> Budget:
        """The budget with no more rows than an equal share, so that the fastest to start leaves the others theirs."""
        share = max(1, -(-len(self) // len(self._sections)))
        return dataclasses.replace(budget, max_rows=min(budget.max_rows or share, share))

    def count(self, generation: Generation) -> Totals:
        """Add a finished row; the new totals of all processes."""
        add = self._counters.add
        return Totals(add("rows", 1), add("nfe", generation.nfe), add("tokens", generation.tokens))
