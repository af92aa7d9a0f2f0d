"""From the requests of all processes to their records: one pool, one loop in each process."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from ..backbones.backbone import Backbone
from ..engine.job import Work
from ..engine.loop import answer
from ..engine.not_finite import Failed
from ..engine.readout import Readout
from ..engine.schedule import Budget
from ..errors import UsageError
from .failing import Failure, Failures, check_failures
from .known import NOTHING_KNOWN, Known
from .processes import ProcessGroup
from .question import Question, Record
from .recording import NO_RECORDER, Recorder
from .work_sharing import Pool, Ticket, Totals


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The outcome of `run` in one process."""

    records: list[Any]
    """Of the requests of this process, in their order, whoever answered them."""
    known: list[bool]
    """Which of them a journal had."""
    nfe_by_process: list[int]
    """Forward passes that each process ran, by rank."""
    num_failed: int = 0
    """Requests of all processes for which the network returned no numbers; their records say so."""


def run(
    backbone: Backbone,
    sections: Sequence[Sequence[Question]],
    *,
    group: ProcessGroup,
    budget: Budget,
    progress: bool,
    known: Known = NOTHING_KNOWN,
    recorder: Recorder = NO_RECORDER,
    on_finish: Callable[[int, Any], None] = lambda index, record: None,
) -> Answered:
    """Answer the requests of all processes together; collective.

    Args:
        backbone: The same network in every process.
        sections: The requests of each process, by rank, checked by it; the same in all processes.
        group: The processes.
        budget: Limits of a pass in this process.
        progress: Show the progress of all processes.
        known: Records of earlier runs, which are taken from there; new ones are added.
        recorder: Keeps the steps of rows. One that it wants is decoded even if its record is known.
        on_finish: Called with the index and the record of each request of this process: as soon as it is answered if
            this process does that, after all others are answered if another process did.

    Raises:
        UsageError: If the network returns no numbers for all requests, the first ones of a process, or one whose
            question has no record for that; or a single row does not fit into memory. Whatever fails in one process,
            the others finish the rows they have begun, and raise an error that names it.
    """
    share = _Share(backbone, Pool(group, sections), group.rank, known, recorder, on_finish)
    with tqdm(total=len(share.pool), disable=not progress, desc="mdlm", unit="request", smoothing=0.05) as bar:
        shares = group.everyones(lambda: share.pool.closed_on_error(lambda: share.answered(budget, bar)))
        failed = [one for own in shares for one in own.failed]
        check_failures(failed, len(share.pool), backbone)
        for own in shares:
            for ticket, outcome in own.for_others.items():
                share.keep(ticket, outcome)
        bar.update(len(share.pool) - bar.n)
    mine = [share.own[index] for index in range(len(sections[group.rank]))]
    return Answered(
        records=[outcome.record for outcome in mine],
        known=[outcome.was_known for outcome in mine],
        nfe_by_process=[own.nfe for own in shares],
        num_failed=len(failed),
    )


@dataclass(frozen=True)
class _Outcome:
    record: Record
    was_known: bool


@dataclass(frozen=True)
class _Answers:
    """What one process has done for all."""

    for_others: dict[Ticket, _Outcome]
    """Outcomes that belong to other processes."""
    nfe: int
    """Forward passes that it ran."""
    failed: list[Failure]


class _Share:
    """What one process draws from the pool, and what it keeps of it."""

    def __init__(
        self,
        backbone: Backbone,
        pool: Pool,
        rank: int,
        known: Known,
        recorder: Recorder,
        on_finish: Callable[[int, Any], None],
    ) -> None:
        self.pool, self.own = pool, dict[int, _Outcome]()
        self._backbone, self._rank, self._on_finish = backbone, rank, on_finish
        self._known, self._recorder = known, recorder
        self._failures = Failures(backbone, rank)

    def answered(self, budget: Budget, bar: "tqdm[Any]") -> _Answers:
        """Answer what can be drawn."""
        nfe, started = 0, time.monotonic()
        for_others: dict[Ticket, _Outcome] = {}
        for (ticket, question), found in answer(Readout(self._backbone), self._drawn(), self.pool.within(budget)):
            if isinstance(found, Failed):
                nfe += found.nfe
                record = self._failures.record(ticket, question, found)
                if record is None:
                    continue
                outcome = _Outcome(record, was_known=False)
            else:
                outcome = found
                self._failures.answered += 1
                if not outcome.was_known:
                    nfe += outcome.record.nfe
                    self._known.add(question, outcome.record)
            if not self.keep(ticket, outcome):
                for_others[ticket] = outcome
            _show(bar, self.pool.count(outcome.record), nfe, started)
        return _Answers(for_others, nfe, self._failures.known)

    def keep(self, ticket: Ticket, outcome: _Outcome) -> bool:
        """Take an outcome if it belongs to this process; whether it does."""
        if ticket.owner != self._rank:
            return False
        self.own[ticket.index] = outcome
        self._on_finish(ticket.index, outcome.record)
        return True

    def _drawn(self) -> Iterator[tuple[tuple[Ticket, Question], Work[_Outcome]]]:
        for ticket, question in self.pool.draw():
            yield (ticket, question), self._work(question)

    def _work(self, question: Question) -> Work[_Outcome]:
        found = self._known.find(question)
        if self._recorder.wants(question):
            record, row = yield from question.recorded(self._backbone)
            # Before the journal gets the result: a kill in between costs a second decoding, and loses no steps.
            self._recorder.add(question, row)
            if found is not None and found != record:
                raise UsageError(
                    "a request that the journal has was decoded again for its steps, with another result; results must "
                    "not depend on the run, so name another journal."
                )
            return _Outcome(record, was_known=False)
        if found is not None:
            return _Outcome(found, was_known=True)
        return _Outcome((yield from question.work(self._backbone)), was_known=False)


def _show(bar: "tqdm[Any]", totals: Totals, nfe: int, started: float) -> None:
    bar.update(totals.requests - bar.n)
    elapsed = max(time.monotonic() - started, 1e-9)
    shown = {"nfe": f"{totals.nfe / totals.requests:.1f}", "passes_per_s": f"{nfe / elapsed:.1f}"}
    if totals.tokens:
        shown["tokens_per_s"] = f"{totals.tokens / elapsed:.1f}"
    bar.set_postfix(shown, refresh=False)
