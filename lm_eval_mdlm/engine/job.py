"""What the loop knows of a job, and how a request is made of jobs."""

import abc
from collections.abc import Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from .query import Query, Reading
from .readout import Readout


Result = TypeVar("Result")


class Job(abc.ABC):
    """Asks the network until it is done. Its state changes in `advance` alone, so that a pass can be repeated."""

    kind: "Kind"
    """Jobs of one kind are advanced together."""
    slots: list[Any]
    """Where the backbone keeps keys and values of the job's canvases between passes; empty where nothing is kept."""

    @property
    @abc.abstractmethod
    def done(self) -> bool:
        """Whether the job needs no further pass."""

    @property
    @abc.abstractmethod
    def tokens_of_next_pass(self) -> int:
        """Tokens that the next pass computes for this job."""

    @property
    def held_positions(self) -> int:
        """Positions whose keys and values the job keeps between its passes."""
        return 0

    @property
    def is_partial(self) -> bool:
        """Whether the next pass needs what the slots hold."""
        return False

    @abc.abstractmethod
    def query(self) -> Query:
        """What is asked in the next pass; the same until the job has been advanced."""

    @abc.abstractmethod
    def advance(self, change: Any) -> None:
        """Take a change that the job's kind has decided on. Must not fail."""


class Kind(abc.ABC):
    """How jobs of one kind go on after a pass: together, because choosing is one operation over all of them."""

    @abc.abstractmethod
    def decide(self, jobs: Sequence[Any], reading: Reading, readout: Readout) -> list[Any]:
        """A change for each job, none of which is carried out yet: this may run out of memory, and is then repeated.

        Args:
            jobs: Of this kind, that took part in the pass.
            reading: Of these jobs.
            readout: Draws samples.
        """


Work: TypeAlias = Generator[Sequence[Job], None, Result]
"""One request: gives jobs, is resumed once all of them are done, and returns its result when it needs no more."""
