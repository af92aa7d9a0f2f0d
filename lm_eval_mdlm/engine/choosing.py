"""What every row's policy does after a pass, all rows of one policy at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.bias import Bias
from ..decoding.policy import Decision, DecodingPolicy
from ..decoding.scores import Candidates
from .kept import Kept
from .looking import PassLook
from .proposing import Wish, propose
from .query import Reading
from .reader import grouped, refuse_not_finite
from .readout import Readout
from .row import Row
from .standing import Standing


SEEN_ANEW = ("entropy", "confidence", "margin", "logit_gap", "argmax")
"""Columns that a look may replace."""


@dataclass(frozen=True, eq=False)
class Choice:
    """Of one row, over its wanted positions."""

    commit: NDArray[np.bool_]
    """Which take a token."""
    remask: NDArray[np.bool_]
    """Which become masks again."""
    tokens: NDArray[np.int64] | None
    """What the policy drew itself; None where the proposals are the usual ones."""
    seen: Reading
    """The row's reading, as the policy sees it after its look."""
    memory: Any
    bias: Bias | None = None
    """What the look added to logits, for samples."""
    kept: Kept | None = None
    """Distributions for the next pass to be compared with; None for a policy that compares nothing."""


def choose(rows: Sequence[Row], reading: Reading, readout: Readout) -> list[Choice]:
    """What is done with every row; nothing is changed by it, so that it can be repeated.

    Raises:
        NotFinite: For rows whose distributions are no numbers after a second look.
        RuntimeError: If a policy breaks its own promise of progress.
    """
    choices: list[Any] = [None] * len(rows)
    for policy, members in grouped(range(len(rows)), lambda i: rows[i].plan.policy).items():
        own = [rows[i] for i in members]
        for i, choice in zip(members, _decided(policy, own, reading.of(members), readout), strict=True):
            choices[i] = choice
    return choices


def _decided(policy: DecodingPolicy, rows: Sequence[Row], reading: Reading, readout: Readout) -> list[Choice]:
    grid = _Grid([len(row.wanted) for row in rows])
    candidates = _candidates(policy, rows, reading, grid)
    if policy.looks:
        before, candidates = candidates, policy.look(PassLook(rows, reading, readout), candidates)
        anew = [name for name in SEEN_ANEW if getattr(candidates, name) is not getattr(before, name)]
        reading = reading.replaced({name: grid.flat(getattr(candidates, name).numpy()) for name in anew})
        refuse_not_finite(rows, reading)
    biases = candidates.biases or (None,) * len(rows)
    if policy.needs_tokens and not policy.proposes:
        candidates = replace(candidates, token=grid.of(_all_proposals(rows, reading, readout, biases)))
    decision = policy.decide(candidates)
    _check(policy, rows, candidates, decision)
    commit = grid.flat(decision.commit.numpy())
    remask = np.zeros_like(commit) if decision.remask is None else grid.flat(decision.remask.numpy())
    tokens = None if decision.tokens is None else grid.flat(decision.tokens.numpy())
    return [
        Choice(
            commit=commit[reading.at(i)],
            remask=remask[reading.at(i)],
            tokens=None if tokens is None else tokens[reading.at(i)],
            seen=reading.one(i),
            memory=memory,
            bias=bias,
            kept=Kept(rows[i].wanted, reading.states[i], reading.logits[i]) if policy.compares else None,
        )
        for i, (memory, bias) in enumerate(zip(decision.memories, biases, strict=True))
    ]


def _all_proposals(
    rows: Sequence[Row], reading: Reading, readout: Readout, biases: Sequence[Bias | None]
) -> NDArray[np.int64]:
    """Of all eligible positions, as they will be if committed; the most likely tokens elsewhere."""
    tokens = reading.argmax.copy()
    wishes = [
        Wish(row, reading.one(i), row.wanted_eligible.nonzero()[0], bias)
        for i, (row, bias) in enumerate(zip(rows, biases, strict=True))
    ]
    for i, (wish, drawn) in enumerate(zip(wishes, propose(readout, wishes), strict=True)):
        tokens[reading.at(i)][wish.picked] = drawn
    return tokens


def _candidates(policy: DecodingPolicy, rows: Sequence[Row], reading: Reading, grid: "_Grid") -> Candidates:
    def over_wanted(name: str) -> Tensor:
        own = [getattr(row, name) for row in rows]
        return grid.of(own[0] if len(own) == 1 else np.concatenate(own))

    numbers = torch.tensor([_numbers(row.standing) for row in rows]).T
    argmax = grid.of(reading.argmax)
    return Candidates(
        entropy=grid.of(reading.entropy),
        confidence=grid.of(reading.confidence),
        margin=grid.of(reading.margin),
        logit_gap=grid.of(reading.logit_gap),
        argmax=argmax,
        token=argmax,
        log_prob=grid.of(reading.log_prob),
        position=over_wanted("wanted"),
        noise=grid.of(np.concatenate([_noise(row) for row in rows])) if policy.needs_noise else torch.zeros(grid.shape),
        eligible=over_wanted("wanted_eligible"),
        revisable=over_wanted("wanted_revisable"),
        block_masks=numbers[0],
        block_step=numbers[1],
        block_start=numbers[2],
        block_length=numbers[3],
        num_blocks=numbers[4],
        memories=tuple(row.memory for row in rows),
        divergence=grid.of(reading.divergence) if policy.compares else None,
        standing=over_wanted("wanted_standing") if policy.revises else None,
    )


def _numbers(standing: Standing) -> tuple[int, ...]:
    """Of a row, those that a policy may see."""
    start, stop = standing.span
    return len(standing.block), standing.step, start, stop - start, standing.num_blocks


def _noise(row: Row) -> NDArray[np.float32]:
    drawn: NDArray[np.float32] = row.plan.key.order_noise(row.steps, len(row.plan.region.token_ids)).numpy()
    return drawn[row.wanted]


class _Grid:
    """Between numbers of several rows, row after row, and a rectangle of them, padded with zeros."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.shape = (len(counts), max(counts))
        even = all(count == self.shape[1] for count in counts)
        self._present = None if even else np.arange(self.shape[1]) < np.array(counts)[:, None]

    def of(self, values: NDArray[Any]) -> Tensor:
        if self._present is None:
            return torch.from_numpy(values.reshape(self.shape))
        padded = np.zeros(self.shape, dtype=values.dtype)
        padded[self._present] = values
        return torch.from_numpy(padded)

    def flat(self, values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(-1) if self._present is None else values[self._present]


def _check(policy: DecodingPolicy, rows: Sequence[Row], candidates: Candidates, decision: Decision) -> None:
    """Hold a policy to its promise: without it a run would not end."""
    allowed = candidates.eligible | candidates.revisable if policy.revises else candidates.eligible
    stray = decision.commit & ~allowed
    if decision.remask is not None:
        stray |= decision.remask & ~candidates.revisable
    if stray.any():
        raise RuntimeError(f"{policy} wants to change positions that it may not; a policy must stay in its scope.")
    if policy.may_pause or policy.revises:  # then a change alone is no progress
        limits = [policy.most_steps(row.standing.num_masks) for row in rows]
        late = [row.steps for row, most in zip(rows, limits, strict=True) if most is None or row.steps >= most]
        if late:
            raise RuntimeError(f"{policy} has not ended a row after {late[0]} passes; a policy must keep its limit.")
    if policy.may_pause:
        return
    changed = decision.commit if decision.remask is None else decision.commit | decision.remask
    if not changed.any(dim=1).all():
        raise RuntimeError(f"{policy} committed nothing where masks remain; a policy must commit at least one.")
