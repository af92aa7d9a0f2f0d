"""Rows that remember every step: what was committed, and how sure the network was of it.

What a sampler adds to logits is not in these numbers, but in the answer's entropy, by which the exit goes. A row is
decoded to the same bits with or without its steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .change import Change
from .filling import Filling
from .job import Work
from .plan import RowPlan
from .query import Reading
from .reader import grouped
from .readout import Readout
from .row import Row
from .states import states_at


@dataclass(frozen=True, eq=False)
class Step:
    """What one pass did to a row, n commits, and what it said of them."""

    positions: NDArray[np.int64]
    """(n,) in the region, ascending; one that was no mask got another token."""
    tokens: NDArray[np.int64]
    """(n,)"""
    remasked: NDArray[np.int64]
    """In the region, that became masks again."""
    entropy: NDArray[np.float32]
    """(n,) nats."""
    confidence: NDArray[np.float32]
    """(n,) largest probability."""
    log_prob: NDArray[np.float32]
    """(n,) of the tokens, nats, before temperature."""
    answer_entropy: float | None
    """Nats; None without an answer to decode."""
    is_partial: bool
    """Whether the pass took keys and values as an approximate cache had them."""


@dataclass(frozen=True, eq=False)
class RecordedChange:
    """What a pass does to a row that is recorded."""

    change: Change
    entropy: NDArray[np.float32]
    """Of the commits, as the next two."""
    confidence: NDArray[np.float32]
    log_prob: NDArray[np.float32]


class RecordedFilling(Filling):
    """Commits as `Filling` does, and keeps the numbers of what it commits."""

    def decide(self, jobs: Sequence[Row], reading: Reading, readout: Readout) -> list[Any]:
        changes = super().decide(jobs, reading, readout)
        picked = [np.searchsorted(row.wanted, change.positions) for row, change in zip(jobs, changes, strict=True)]
        log_probs = _log_probs(readout, jobs, reading, changes, picked)
        return [
            RecordedChange(
                change,
                reading.entropy[reading.at(i)][picked[i]],
                reading.confidence[reading.at(i)][picked[i]],
                log_probs[i],
            )
            for i, change in enumerate(changes)
        ]


RECORDED_FILLING = RecordedFilling()


class RecordedRow(Row):
    """A row with a record of its steps."""

    def __init__(self, plan: RowPlan) -> None:
        self.steps_taken: list[Step] = []
        super().__init__(plan, RECORDED_FILLING)

    def advance(self, change: RecordedChange) -> None:  # type: ignore[override]
        """See `Job`."""
        own = change.change
        # Not the change itself: it holds what the sampler remembers.
        self.steps_taken.append(
            Step(
                positions=own.positions,
                tokens=own.tokens,
                remasked=own.remasked,
                entropy=change.entropy,
                confidence=change.confidence,
                log_prob=change.log_prob,
                answer_entropy=own.answer_entropy,
                is_partial=self.is_approximate,
            )
        )
        super().advance(own)


def decoding_on_record(plan: RowPlan) -> Work[RecordedRow]:
    """Decode one plan; ends with the finished row and its steps."""
    row = RecordedRow(plan)
    yield [row]
    return row


def _log_probs(
    readout: Readout,
    rows: Sequence[Row],
    reading: Reading,
    changes: Sequence[Change],
    picked: Sequence[NDArray[np.int64]],
) -> list[NDArray[np.float32]]:
    """Of the tokens of each row's commits.

    The most likely token's probability is the confidence. Only for others, as samples may be, the head is run again.
    """
    found = [np.log(reading.confidence[reading.at(i)][own].astype(np.float64)) for i, own in enumerate(picked)]
    others = [np.flatnonzero(reading.argmax[reading.at(i)][own] != changes[i].tokens) for i, own in enumerate(picked)]
    drawing = [i for i in range(len(rows)) if len(others[i])]
    for rule, members in grouped(drawing, lambda i: rows[i].plan.logit_rule).items():
        targets = np.concatenate([changes[i].tokens[others[i]] for i in members])
        states = states_at(rule, [reading.states[i] for i in members], [picked[i][others[i]] for i in members])
        log_prob = readout.statistics(rule, states, torch.from_numpy(targets))[-1].numpy()
        ends = np.cumsum([len(others[i]) for i in members])[:-1]
        for i, own in zip(members, np.split(log_prob, ends), strict=True):
            found[i][others[i]] = own
    return [own.astype(np.float32) for own in found]
