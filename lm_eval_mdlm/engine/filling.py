"""How rows are filled: a choice of positions by each row's policy, and the tokens that they take."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.policies import UnmaskPolicy
from ..decoding.scores import Candidates
from .job import Kind
from .query import Reading
from .reader import grouped
from .readout import Readout
from .row import Change, Row


class Filling(Kind):
    """Commits what each row's policy picks from a pass, at the tokens that the pass proposes."""

    def decide(self, jobs: Sequence[Row], reading: Reading, readout: Readout) -> list[Change]:
        chosen = choose(jobs, reading)
        answer_entropies = [row.entropy_of_answer(reading.entropy[reading.at(i)]) for i, row in enumerate(jobs)]
        exited = [row.exits(entropy) for row, entropy in zip(jobs, answer_entropies, strict=True)]
        # The pass that fires the exit is the row's last: the answer takes its proposals, reasoning masks stay.
        picked = [
            (row.wanted_answer if exited[i] else chosen[reading.at(i)]).nonzero()[0] for i, row in enumerate(jobs)
        ]
        tokens = _proposals(readout, jobs, reading, picked)
        return [
            Change(
                row.wanted[picked[i]],
                tokens[i],
                answer_entropies[i],
                exited[i],
                log_probs=reading.log_prob[reading.at(i)] if row.plan.gold else None,
            )
            for i, row in enumerate(jobs)
        ]


def choose(rows: Sequence[Row], reading: Reading) -> NDArray[np.bool_]:
    """For the wanted positions of all rows, row after row, whether the row's policy commits them."""
    chosen = np.empty(reading.ends[-1], dtype=bool)
    for policy, members in grouped(range(len(rows)), lambda i: rows[i].plan.policy).items():
        chosen[reading.places(members)] = _select(policy, [rows[i] for i in members], reading.of(members))
    return chosen


def _select(policy: UnmaskPolicy, rows: Sequence[Row], reading: Reading) -> NDArray[np.bool_]:
    """The same for the rows of one policy."""
    counts = np.array([len(row.wanted) for row in rows])
    shape = (len(rows), int(counts.max()))
    present = None if (counts == shape[1]).all() else np.arange(shape[1]) < counts[:, None]

    def grid(values: NDArray[Any]) -> Tensor:
        if present is None:
            return torch.from_numpy(values.reshape(shape))
        padded = np.zeros(shape, dtype=values.dtype)
        padded[present] = values
        return torch.from_numpy(padded)

    candidates = Candidates(
        entropy=grid(reading.entropy),
        confidence=grid(reading.confidence),
        margin=grid(reading.margin),
        noise=grid(np.concatenate([_noise(row) for row in rows])) if policy.needs_noise else torch.zeros(shape),
        eligible=grid(np.concatenate([row.wanted_eligible for row in rows])),
        block_masks=torch.tensor([row.block_masks for row in rows]),
        block_step=torch.tensor([row.block_step for row in rows]),
        num_blocks=torch.tensor([row.num_blocks for row in rows]),
    )
    chosen = (policy.select(candidates) & candidates.eligible).numpy()
    if not chosen.any(axis=1).all():
        raise RuntimeError(f"{policy} committed nothing where masks remain; a policy must commit at least one.")
    flat: NDArray[np.bool_] = chosen.reshape(-1) if present is None else chosen[present]
    return flat


def _noise(row: Row) -> NDArray[np.float32]:
    drawn: NDArray[np.float32] = row.plan.key.order_noise(row.steps, len(row.plan.region.token_ids)).numpy()
    return drawn[row.wanted]


def _proposals(
    readout: Readout, rows: Sequence[Row], reading: Reading, picked: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """The tokens of each row's picked positions, which are indices into `wanted`: the most likely ones, or samples.

    All samples of one rule are drawn together: one call of the head, or a few, and one wait for the device.
    """
    tokens = [reading.argmax[reading.at(i)][own] for i, own in enumerate(picked)]
    drawing = [i for i, row in enumerate(rows) if row.plan.temperature > 0 and len(picked[i])]
    for rule, members in grouped(drawing, lambda i: rows[i].plan.logit_rule).items():
        draws = [rows[i].draw(int(position)) for i in members for position in rows[i].wanted[picked[i]]]
        drawn = readout.sample(rule, _picked_states(reading, rows, members, picked), draws)
        ends = np.cumsum([len(picked[i]) for i in members])[:-1]
        for i, own in zip(members, np.split(np.array(drawn), ends), strict=True):
            tokens[i] = own
    return tokens


def _picked_states(
    reading: Reading, rows: Sequence[Row], members: Sequence[int], picked: Sequence[NDArray[np.int64]]
) -> Float[Tensor, "S D"]:
    """States of the picked positions of several rows; under guidance all unconditional ones follow the others."""
    together = torch.cat([reading.states[i] for i in members])
    starts = [0, *accumulate(len(reading.states[i]) for i in members)]
    sides = range(rows[members[0]].plan.nfe_per_step)
    places = [
        start + side * len(rows[i].wanted) + picked[i]
        for side in sides
        for i, start in zip(members, starts, strict=False)
    ]
    return together[torch.from_numpy(np.concatenate(places)).to(together.device, non_blocking=True)]
