"""Requests for which the network returns no numbers: told one by one, counted, and the end of a run that has no others.

docs/semantics.md says what such a request is worth.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ..backbones.backbone import Backbone
from ..engine.not_finite import Failed
from ..errors import UsageError
from .question import Question, Record
from .work_sharing import Ticket


logger = logging.getLogger("lm_eval.mdlm")
MOST_AT_FIRST = 8
"""Requests that may fail in a process before it has answered any: more, and it is the checkpoint or the device."""
_WAY_OUT = "use dtype=bfloat16 or float32, suppress fewer tokens, and check the checkpoint."


@dataclass(frozen=True)
class Failure:
    """One such request."""

    name: str
    """For people."""
    has_record: bool
    """Whether its question has a record that says so."""


class Failures:
    """Those of one process."""

    def __init__(self, backbone: Backbone, rank: int) -> None:
        self._backbone, self._rank = backbone, rank
        self.known: list[Failure] = []
        self.answered = 0
        """Requests that did not fail, to be counted by the caller."""

    def record(self, ticket: Ticket, question: Question, failed: Failed) -> Record | None:
        """Note a request, and tell the user; its record, if its question has one for this.

        Raises:
            UsageError: If the first requests of this process have all failed.
        """
        record = question.failed(self._backbone, failed.nfe)
        self.known.append(Failure(_name(ticket, question), record is not None))
        if not self.answered and len(self.known) >= MOST_AT_FIRST:
            raise UsageError(
                f"{_no_numbers(self._backbone)}, for the first {len(self.known)} requests of process {self._rank}; "
                f"{_WAY_OUT}"
            )
        why = _no_numbers(self._backbone)
        logger.error("%s: %s; it has failed and has no result, the others go on.", self.known[-1].name, why)
        return record


def check_failures(failed: Sequence[Failure], num_requests: int, backbone: Backbone) -> None:
    """The end of a run.

    Args:
        failed: Of all processes.
        num_requests: Of all processes.
        backbone: That was asked.

    Raises:
        UsageError: If nothing was answered, or a question has no record that could say that it was not.
    """
    if failed and len(failed) == num_requests:
        raise UsageError(f"{_no_numbers(backbone)}, for all that was asked; {_WAY_OUT}")
    if fatal := [one.name for one in failed if not one.has_record]:
        raise UsageError(
            f"{_no_numbers(backbone)}, for {len(fatal)} of {num_requests} requests, first for {fatal[0]}; the others "
            f"are finished, and kept where a journal is named; {_WAY_OUT}"
        )


def refuse_failed(num_failed: int, num_requests: int) -> None:
    """UsageError if requests have failed and what is made of them has no place for that."""
    if num_failed:
        raise UsageError(
            f"the network returned no numbers for {num_failed} of {num_requests} requests, which are named above; the "
            f"others are finished, and kept where a journal is named; use dtype=bfloat16 or float32."
        )


def _no_numbers(backbone: Backbone) -> str:
    dtype = str(backbone.dtype).removeprefix("torch.")
    return f"the network returned NaN in dtype={dtype}, or -inf for all that may be proposed"


def _name(ticket: Ticket, question: Question) -> str:
    """Task and document where they are known, and the place among the requests of a process."""
    origin = question.origin
    of_task = "" if origin is None else f"{origin.task}, document {origin.doc_id}, "
    return f"{of_task}request {ticket.index} of process {ticket.owner}"
