"""The one loop: passes over the jobs of many requests, until every request has its result."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from ..backbones.shortage import is_out_of_memory
from ..errors import UsageError
from .job import Job, Work
from .not_finite import Failed, NotFinite
from .reader import grouped, read
from .readout import Readout
from .schedule import Budget, Schedule, tokens_of


logger = logging.getLogger("lm_eval.mdlm")
Key = TypeVar("Key")
Result = TypeVar("Result")


def answer(
    readout: Readout,
    queue: Iterable[tuple[Key, Work[Result]]],
    budget: Budget,
    watch: Callable[[Sequence[Job]], None] = lambda jobs: None,
) -> Iterator[tuple[Key, Result | Failed]]:
    """Answer every request that the queue gives; yields each result with its key as soon as it is there.

    Jobs are admitted in the queue's order, and a request is drawn only when there may be room for it. Which jobs share
    a pass changes nothing in any result. When a pass runs out of memory, all that only saves time is given up; when
    that is not enough, the budget is halved for the rest of the run. The pass is repeated, with fewer jobs if need be;
    no job loses or repeats a step by it. A job for which the network returns no numbers is run again alone; if it gets
    none then either, its request ends as `Failed`, and all others get what they would have got without it.

    Args:
        readout: Reads the network.
        queue: Pairs of a key of the caller's and a request.
        budget: Limits of a pass.
        watch: Called ahead of every pass, also of one that is repeated, with the jobs that take part; may raise.

    Raises:
        UsageError: If a single job does not fit into memory.
    """
    schedule = Schedule(iter(queue), budget)
    while True:
        schedule.fill()
        going = schedule.of_next_pass()
        jobs = [job for _, job in going]
        if going:
            watch(jobs)
        try:
            if going and not _fits(readout, jobs):
                schedule.set_aside(going)
                _make_room(readout, jobs, schedule)
                continue
        except NotFinite as fault:
            if len(going) > 1:
                schedule.suspect(fault.jobs)
                continue
            schedule.fail(going[0])
        else:
            schedule.passed(going)
        yield from schedule.finished()
        if not going:
            return


@torch.inference_mode()
def step(readout: Readout, jobs: Sequence[Job]) -> None:
    """Advance every job by one pass; no job's result depends on which others are there.

    A step that raises has changed no job, so that it can be repeated.

    Raises:
        NotFinite: For jobs whose distributions are no numbers.
        torch.OutOfMemoryError: If the pass does not fit.
    """
    reading = read(readout, jobs)
    changes: list[Any] = [None] * len(jobs)
    for kind, members in grouped(range(len(jobs)), lambda i: jobs[i].kind).items():
        decided = kind.decide([jobs[i] for i in members], reading.of(members), readout)
        for i, change in zip(members, decided, strict=True):
            changes[i] = change
    for job, change in zip(jobs, changes, strict=True):
        job.advance(change)


def _fits(readout: Readout, jobs: Sequence[Job]) -> bool:
    """Advance every job by one step; False, with no job changed, if memory ran out."""
    try:
        step(readout, jobs)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        # Memory is freed by the caller: while the error is handled, its frames hold the tensors of the pass.
        return False
    return True


def _make_room(readout: Readout, jobs: Sequence[Job], schedule: "Schedule[Any]") -> None:
    """Give up what only saves time after a pass of these jobs did not fit, or make later passes smaller.

    Raises:
        UsageError: If nothing is left to give up.
    """
    device, tokens, held = readout.backbone.device, tokens_of(jobs), schedule.held()
    schedule.drop_what_is_written_anew()
    freed = readout.backbone.give_up()
    held_by_others = schedule.held(without=jobs[0])
    if device.type == "cuda":
        torch.cuda.empty_cache()
    # A freed slot is reserved again at once, so that what was freed only counts once before something has to shrink.
    times = schedule.failures.count(list(jobs))
    if freed and (len(schedule.failures) == 1 or (len(jobs) == 1 and times == 1)):
        change = "recordings and unused slots are given up"
    elif len(jobs) > 1:
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
