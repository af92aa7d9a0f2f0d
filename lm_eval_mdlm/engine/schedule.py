"""Which jobs are live, which wait, and which take part in the next pass."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from .job import Job, Work
from .not_finite import Failed


Key = TypeVar("Key")


@dataclass(frozen=True)
class Budget:
    """How much a forward pass may hold. A single job is always admitted, so that every request is served."""

    max_rows: int | None = None
    """Jobs that are live together; None for as many as the other limits allow."""
    max_tokens: int | None = None
    """Tokens that a packed pass computes; None for as many as `max_rows` jobs have."""
    max_held: int | None = None
    """Positions whose keys and values are kept between passes, of all jobs with a cache together; None for any."""
    max_requests: int | None = None
    """Requests that are begun and not finished; None for any number."""
    refill: bool = True
    """Whether a waiting job may join others that are under way. False runs one batch after the other, each as slow as
    its slowest job: only good to measure what refilling gains and to test that it changes no result."""

    def halved(self, tokens: int, held: int) -> "Budget":
        """The budget after a pass of so many tokens did not fit into memory beside so many held positions."""
        return dataclasses.replace(self, max_tokens=tokens // 2, max_held=held // 2 if held else self.max_held)


@dataclass(eq=False)
class Request(Generic[Key]):
    """A request that has been begun."""

    key: Key
    """The caller's name for it."""
    work: Work[Any]
    unfinished: int = 0
    """Of the jobs that it has given last."""
    passes: int = 0
    """In which a job of it took part."""


Seat: TypeAlias = tuple[Request[Key], Job]


def tokens_of(jobs: Iterable[Job]) -> int:
    """What a pass over these jobs computes."""
    return sum(job.tokens_of_next_pass for job in jobs)


class Schedule(Generic[Key]):
    """The state of a run between two passes."""

    def __init__(self, arriving: Iterator[tuple[Key, Work[Any]]], budget: Budget) -> None:
        """Requests come from `arriving`, with their keys."""
        self.budget = budget
        self._arriving = arriving
        self._num_begun = 0
        self._waiting: deque[Seat[Key]] = deque()
        self._live: list[Seat[Key]] = []
        """Those that did not take part in the last pass come first."""
        self._finished: list[tuple[Key, Any]] = []
        self.failures: list[list[Job]] = []
        """Jobs of each pass that did not fit since one did."""
        self._suspects: set[int] = set()
        """Ids of live or waiting jobs that got no numbers in a pass with others, and are to be run alone."""

    def held(self, without: Job | None = None) -> int:
        """Positions of memory that jobs hold or, being live, are about to."""
        live = [job for _, job in self._live]
        holding = live + [job for _, job in self._waiting if job.slots]
        return sum(job.held_positions for job in holding if job is not without)

    def finished(self) -> Iterator[tuple[Key, Any]]:
        """Keys and results of requests that have ended since this was last asked."""
        ended, self._finished = self._finished, []
        yield from ended

    def fill(self) -> None:
        """Make waiting jobs live while there is room; at most one request is drawn without a job being admitted."""
        if self._live and not self.budget.refill:
            return
        tokens = tokens_of(job for _, job in self._live)
        while not self._live or self.budget.max_rows is None or len(self._live) < self.budget.max_rows:
            while not self._waiting and self._draw():
                pass  # a request that needs no pass has ended already
            if not self._waiting or not self._admits(self._waiting[0][1], tokens):
                return
            self._live.append(self._waiting.popleft())
            tokens += self._live[-1][1].tokens_of_next_pass

    def _draw(self) -> bool:
        """Begin the next request, if there may be another; whether there was one."""
        limit = self.budget.max_requests
        if limit is not None and self._num_begun >= limit:
            return False
        arrived = next(self._arriving, None)
        if arrived is not None:
            self._num_begun += 1
            self._waiting.extend(self._next_jobs(Request(*arrived)))
        return arrived is not None

    def _next_jobs(self, request: Request[Key]) -> list[Seat[Key]]:
        """Let a request whose jobs are all done give its next ones; there are none if it has ended."""
        try:
            while not (jobs := [job for job in next(request.work) if not job.done]):
                pass
        except StopIteration as end:
            self._num_begun -= 1
            self._finished.append((request.key, end.value))
            return []
        request.unfinished = len(jobs)
        return [(request, job) for job in jobs]

    def _admits(self, job: Job, tokens: int) -> bool:
        """Whether this job, if there is a place for it, fits beside the live ones, whose next pass has `tokens`."""
        if not self._live:
            return True
        limits, own = self.budget, job.held_positions
        # What a job holds already cannot be too much.
        if limits.max_held is not None and own and not job.slots and self.held() + own > limits.max_held:
            return False
        return limits.max_tokens is None or tokens + job.tokens_of_next_pass <= limits.max_tokens

    def of_next_pass(self) -> list[Seat[Key]]:
        """As many live jobs as a pass may compute, those that have waited first; the others keep what they hold.

        Where all passes are over whole canvases they always all fit. Else several may come to a larger pass at the same
        time: the first one of a block under an approximate cache, say. One under suspicion goes
        alone, as what its mates got may be another's fault.
        """
        if alone := [seat for seat in self._live if id(seat[1]) in self._suspects][:1]:
            return alone
        room = self.budget.max_tokens
        if room is None:
            return list(self._live)
        going: list[Seat[Key]] = []
        for seat in self._live:
            tokens = seat[1].tokens_of_next_pass
            if not going or tokens <= room:
                going.append(seat)
                room -= tokens
        return going

    def passed(self, going: Sequence[Seat[Key]]) -> None:
        """These jobs have advanced: those that are done leave, the others queue behind those that waited.

        What requests ask next comes before all that waits, in the order of their jobs.
        """
        self.failures = []
        took_part = {id(job) for _, job in going}
        self._suspects -= took_part
        waited = [seat for seat in self._live if id(seat[1]) not in took_part]
        self._live = waited + [seat for seat in going if not seat[1].done]
        asked: list[Seat[Key]] = []
        for request, job in going:
            request.passes += 1
            if job.done:
                request.unfinished -= 1
                if not request.unfinished:
                    asked += self._next_jobs(request)
        self._waiting.extendleft(reversed(asked))

    def suspect(self, jobs: Iterable[Job]) -> None:
        """Run these alone, one after the other, before any other pass."""
        self._suspects |= {id(job) for job in jobs}

    def fail(self, seat: Seat[Key]) -> None:
        """End the request of a job that got no numbers even alone, with all its jobs."""
        request, job = seat
        request.work.close()
        self.failures = []  # the pass did fit
        own = [job for of, job in (*self._live, *self._waiting) if of is request]
        self._suspects -= {id(job) for job in own}
        self._live = [other for other in self._live if other[0] is not request]
        self._waiting = deque(other for other in self._waiting if other[0] is not request)
        self._num_begun -= 1
        self._finished.append((request.key, Failed((request.passes + 1) * len(job.query().canvases))))

    def set_aside(self, failed: Sequence[Seat[Key]]) -> None:
        """Let all live jobs wait, with all that they have done so far, and ahead of new ones.

        A job that did not fit by itself comes behind all that hold slots, which they give back when they are done.
        """
        self.failures.append([job for _, job in failed])
        last = list(failed) if len(failed) == 1 else []
        others = [seat for seat in self._live if seat not in last]
        holding = [seat for seat in self._waiting if last and seat[1].slots]
        rest = [seat for seat in self._waiting if seat not in holding]
        self._waiting, self._live = deque([*others, *holding, *last, *rest]), []

    def drop_what_is_written_anew(self) -> None:
        """Give back the slots of jobs whose next pass is over whole canvases."""
        for _, job in (*self._live, *self._waiting):
            if not job.is_partial:
                job.slots = []
