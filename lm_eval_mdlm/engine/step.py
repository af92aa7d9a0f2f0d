"""One step of several rows: a packed forward pass, a choice of positions per row, and the commits."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..backbones.backbone import Backbone, CanvasPart
from ..decoding.policies import UnmaskPolicy
from ..decoding.scores import Candidates
from ..errors import UsageError
from .readout import Readout
from .row import Row


@dataclass(frozen=True, eq=False)
class Reading:
    """What one pass says: numbers at the `wanted` positions of all rows, row after row."""

    entropy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    argmax: NDArray[np.int64]
    ends: list[int]
    """Where each row's numbers end; the first entry, 0, is where they begin."""
    states: list[Float[Tensor, "_ D"]]
    """Of each row, on the device; under guidance the unconditional states follow the conditional ones."""

    def at(self, row: int) -> slice:
        """Where the numbers of a row are."""
        return slice(self.ends[row], self.ends[row + 1])

    def places(self, members: Sequence[int]) -> Any:
        """Where the numbers of several rows, in ascending order, are."""
        if len(members) + 1 == len(self.ends):
            return slice(None)
        return np.concatenate([np.arange(self.ends[i], self.ends[i + 1]) for i in members])


@torch.inference_mode()
def step(readout: Readout, rows: Sequence[Row]) -> None:
    """Advance every row by one step; no row's result depends on which others are there.

    A step that raises has committed and counted nothing, so that it can be repeated.

    Raises:
        UsageError: If the network returns NaN.
        torch.OutOfMemoryError: If the pass does not fit.
    """
    reading = _read(readout, _forward(readout, rows), rows)
    chosen = np.empty(reading.ends[-1], dtype=bool)
    for policy, members in _grouped(range(len(rows)), lambda i: rows[i].plan.policy).items():
        chosen[reading.places(members)] = _select(policy, [rows[i] for i in members], reading, members)
    answer_entropies = [row.entropy_of_answer(reading.entropy[reading.at(i)]) for i, row in enumerate(rows)]
    exited = [row.exits(entropy) for row, entropy in zip(rows, answer_entropies, strict=True)]
    # The pass that fires the exit is the row's last: the answer takes its proposals, reasoning masks stay.
    picked = [(row.wanted_answer if exited[i] else chosen[reading.at(i)]).nonzero()[0] for i, row in enumerate(rows)]
    tokens = _proposals(readout, rows, reading, picked)
    for i, row in enumerate(rows):
        row.commit(row.wanted[picked[i]], tokens[i])
        row.finish_step(answer_entropies[i], exited[i])


def _forward(readout: Readout, rows: Sequence[Row]) -> list[Float[Tensor, "_ D"]]:
    """The states of each row's wanted positions, from one pass over all canvases; another one for rows with a cache."""
    states: dict[int, Float[Tensor, "_ D"]] = {}
    for forward, members in _grouped(
        range(len(rows)), lambda i: _exact if rows[i].plan.cache is None else _cached
    ).items():
        together = forward(readout.backbone, [rows[i] for i in members])
        counts = [len(rows[i].wanted) * rows[i].plan.nfe_per_step for i in members]
        states.update(zip(members, torch.split(together, counts), strict=True))
    return [states[i] for i in range(len(rows))]


def _exact(backbone: Backbone, rows: Sequence[Row]) -> Float[Tensor, "R D"]:
    canvases = [canvas for row in rows for canvas in row.canvases]
    lengths = [len(canvas) for canvas in canvases]
    places = [row.places for row in rows for _ in row.canvases]
    wanted = np.concatenate([start + own for start, own in zip(accumulate([0, *lengths]), places, strict=False)])
    return backbone.states(torch.from_numpy(np.concatenate(canvases)), lengths, torch.from_numpy(wanted))


def _cached(backbone: Backbone, rows: Sequence[Row]) -> Float[Tensor, "R D"]:
    parts = []
    for row in rows:
        row.slots = row.slots or [backbone.reserve(row.plan.canvas_length) for _ in row.canvases]
        positions = row.recomputed(backbone.lookback)
        found = np.searchsorted(positions, row.places)
        assert np.array_equal(positions[found], row.places), f"{row.plan.cache} leaves out wanted positions"
        wanted = torch.from_numpy(found)
        for canvas, slot in zip(row.canvases, row.slots, strict=True):
            token_ids, own = torch.from_numpy(canvas[positions]), torch.from_numpy(positions)
            parts.append(CanvasPart(token_ids=token_ids, positions=own, wanted=wanted, slot=slot))
    return backbone.partial_states(parts)


def _read(readout: Readout, states: Sequence[Float[Tensor, "_ D"]], rows: Sequence[Row]) -> Reading:
    """Statistics of every row, read together for rows that treat logits alike."""
    ends = [0, *accumulate(len(row.wanted) for row in rows)]
    reading = Reading(
        entropy=np.empty(ends[-1], dtype=np.float32),
        confidence=np.empty(ends[-1], dtype=np.float32),
        margin=np.empty(ends[-1], dtype=np.float32),
        argmax=np.empty(ends[-1], dtype=np.int64),
        ends=ends,
        states=list(states),
    )
    for rule, members in _grouped(range(len(rows)), lambda i: rows[i].plan.logit_rule).items():
        own = [states[i] for i in members]
        if rule.guided:
            halves = [both.chunk(2) for both in own]
            own = [half for side in zip(*halves, strict=True) for half in side]
        places = reading.places(members)
        packed = readout.statistics(rule, torch.cat(own) if len(own) > 1 else own[0]).numpy()
        columns: tuple[NDArray[Any], ...] = (reading.entropy, reading.confidence, reading.margin, reading.argmax)
        for column, values in zip(columns, packed, strict=True):
            column[places] = values
    if np.isnan(reading.entropy).any():
        raise UsageError(
            f"the network returned NaN in dtype={readout.backbone.dtype}, or -inf for all that may be proposed; use "
            f"dtype=bfloat16 or float32, suppress fewer tokens, and check the checkpoint."
        )
    return reading


def _select(policy: UnmaskPolicy, rows: Sequence[Row], reading: Reading, members: Sequence[int]) -> NDArray[np.bool_]:
    """For the wanted positions of the rows of one policy, one row after the other, whether it commits them."""
    places = reading.places(members)
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
        entropy=grid(reading.entropy[places]),
        confidence=grid(reading.confidence[places]),
        margin=grid(reading.margin[places]),
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
    for rule, members in _grouped(drawing, lambda i: rows[i].plan.logit_rule).items():
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


def _grouped(items: Iterable[int], key: Callable[[int], Hashable]) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
