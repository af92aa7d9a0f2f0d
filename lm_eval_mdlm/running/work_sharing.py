"""One pool of requests for all processes, so that they finish together however unequal their rows are."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..engine.schedule import Budget
from .processes import ProcessGroup
from .question import Question, Record


Result = TypeVar("Result")


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

    requests: int
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

    def __init__(self, group: ProcessGroup, sections: Sequence[Sequence[Question]]) -> None:
        self._rank = group.rank
        self._sections = sections
        self._counters = group.counters()

    def __len__(self) -> int:
        return sum(map(len, self._sections))

    def draw(self) -> Iterator[tuple[Ticket, Question]]:
        """This process's share; ends when nothing is left anywhere."""
        num = len(self._sections)
        for owner in [(self._rank + i) % num for i in range(num)]:
            while (index := self._counters.add(f"drawn/{owner}", 1) - 1) < len(self._sections[owner]):
                yield Ticket(owner, index), self._sections[owner][index]

    def closed_on_error(self, work: Callable[[], Result]) -> Result:
        """What `work` returns; if it fails, no process draws anything more."""
        try:
            return work()
        except Exception:
            for owner, section in enumerate(self._sections):
                self._counters.add(f"drawn/{owner}", len(section))
            raise

    def within(self, budget: Budget) -> Budget:
        """The budget with no more requests begun than an equal share: who starts first leaves the others theirs."""
        share = max(1, -(-len(self) // len(self._sections)))
        return dataclasses.replace(budget, max_requests=min(budget.max_requests or share, share))

    def count(self, record: Record) -> Totals:
        """Add a finished request; the new totals of all processes."""
        add = self._counters.add
        return Totals(add("requests", 1), add("nfe", record.nfe), add("tokens", record.tokens))
