"""One way into the package, with the kinds of requests that it takes."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.soak.bits import Bits


@dataclass(frozen=True, kw_only=True)
class Company:
    """How requests are asked together; no result depends on it."""

    mixed: bool
    """Requests of all kinds in one call, or a call for each kind."""
    batch_size: int | str
    journal: bool
    """Whether a journal is kept; all is then asked again, and has to come out of it."""
    record: bool
    """Whether the steps of rows are recorded."""


class Lane(abc.ABC):
    """A network behind an interface. Requests are known by kind and number, which determine all that is asked."""

    name: str
    kinds: Sequence[str]

    @abc.abstractmethod
    def answered(self, asked: Sequence[tuple[str, int]], company: Company) -> list[Bits]:
        """The results of requests, in their order.

        Args:
            asked: Kind and number of each.
            company: How they are asked together.

        Raises:
            RuntimeError: For a journal or a recording that does not hold what was asked.
        """
