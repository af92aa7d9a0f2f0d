"""What becomes of a request for which the network returns no numbers: it ends, and its mates never notice."""

from collections.abc import Sequence
from dataclasses import dataclass

from .job import Job


class NotFinite(Exception):
    """A pass gave NaN, or only infinities, for some of its jobs; none of its jobs has changed."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(f"{len(jobs)} jobs of a pass got no numbers")
        self.jobs = list(jobs)


@dataclass(frozen=True)
class Failed:
    """In place of a request's result."""

    nfe: int
    """Forward passes that were run for it, the last one included; guidance counts 2."""
