"""One step of several rows: a packed forward pass, a choice of positions per row, and the commits."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..decoding.policies import UnmaskPolicy
from ..decoding.scores import Candidates
from ..decoding.statistics import Statistics
from ..errors import UsageError
from .readout import Readout
from .row import Row


@dataclass(frozen=True)
class RowReading:
    """What one pass says about one row, at its `wanted` positions."""

    positions: list[int]
    """In the region, ascending."""
    statistics: Statistics
    states: Float[Tensor, "S D"]
    """On the device; under guidance the unconditional states follow the conditional ones."""


@torch.inference_mode()
def step(readout: Readout, rows: Sequence[Row]) -> None:
    """Advance every row by one step; no row's result depends on which others are there.

    Raises:
        UsageError: If the network returns NaN.
    """
    readings = _read(readout, _forward(readout, rows), rows)
    chosen: dict[int, list[int]] = {}
    for policy, members in _grouped(range(len(rows)), lambda i: rows[i].plan.policy).items():
        selected = _select(policy, [rows[i] for i in members], [readings[i] for i in members])
        chosen.update(zip(members, selected, strict=True))
    for i, (row, reading) in enumerate(zip(rows, readings, strict=True)):
        entropies = dict(zip(reading.positions, reading.statistics.entropy.tolist(), strict=True))
        exited = row.exits(entropies)
        # The pass that fires the exit is the row's last: the answer takes its proposals, reasoning masks stay.
        positions = row.masked_answer if exited else chosen[i]
        if positions:
            row.commit(_proposals(readout, row, reading, positions))
        row.finish_step(exited)


def _forward(readout: Readout, rows: Sequence[Row]) -> list[Float[Tensor, "_ D"]]:
    """One pass over all canvases; the states of each row's wanted positions."""
    device = readout.backbone.device
    canvases: list[Int[Tensor, " _"]] = []
    flat: list[Int[Tensor, " _"]] = []
    counts = []
    start = 0
    for row in rows:
        offset = len(row.plan.prompt_ids)
        wanted = torch.tensor(row.wanted) + offset
        own = [row.canvas, row.unconditional_canvas()] if row.plan.logit_rule.guided else [row.canvas]
        for canvas in own:
            canvases.append(canvas)
            flat.append(wanted + start)
            start += len(canvas)
        counts.append(len(wanted) * len(own))
    lengths = [len(canvas) for canvas in canvases]
    states = readout.backbone.states(torch.cat(canvases).to(device), lengths, torch.cat(flat).to(device))
    return list(torch.split(states, counts))


def _read(readout: Readout, states: Sequence[Float[Tensor, "_ D"]], rows: Sequence[Row]) -> list[RowReading]:
    """Statistics of every row, read together for rows that treat logits alike."""
    readings: dict[int, RowReading] = {}
    for rule, members in _grouped(range(len(rows)), lambda i: rows[i].plan.logit_rule).items():
        halves = [states[i].chunk(2 if rule.guided else 1) for i in members]
        together = torch.cat([half for side in zip(*halves, strict=True) for half in side])
        read = readout.statistics(rule, together)
        if bool(read.entropy.isnan().any()):
            raise UsageError(
                f"the network returned NaN in dtype={readout.backbone.dtype}; use dtype=bfloat16 or float32, and check "
                f"the checkpoint."
            )
        sizes = [len(rows[i].wanted) for i in members]
        columns = [torch.split(getattr(read, name), sizes) for name in Statistics.__dataclass_fields__]
        for i, *own in zip(members, *columns, strict=True):
            readings[i] = RowReading(rows[i].wanted, Statistics(*own), states[i])
    return [readings[i] for i in range(len(rows))]


def _select(policy: UnmaskPolicy, rows: Sequence[Row], readings: Sequence[RowReading]) -> list[list[int]]:
    """The positions that one policy commits in each of its rows."""
    width = max(len(reading.positions) for reading in readings)

    def padded(values: Iterable[Tensor]) -> Tensor:
        return torch.stack([torch.nn.functional.pad(v, (0, width - len(v))) for v in values])

    def eligible(row: Row, reading: RowReading) -> Bool[Tensor, " N"]:
        open_positions = set(row.eligible)
        return torch.tensor([position in open_positions for position in reading.positions])

    def noise(row: Row, reading: RowReading) -> Float[Tensor, " N"]:
        if not policy.needs_noise:
            return torch.zeros(len(reading.positions))
        return row.plan.key.order_noise(row.steps, len(row.plan.region.token_ids))[reading.positions]

    pairs = list(zip(rows, readings, strict=True))
    candidates = Candidates(
        entropy=padded(reading.statistics.entropy for reading in readings),
        confidence=padded(reading.statistics.confidence for reading in readings),
        margin=padded(reading.statistics.margin for reading in readings),
        noise=padded(noise(*pair) for pair in pairs),
        eligible=padded(eligible(*pair) for pair in pairs),
        block_masks=torch.tensor([row.block_masks for row in rows]),
        block_step=torch.tensor([row.block_step for row in rows]),
        num_blocks=torch.tensor([row.num_blocks for row in rows]),
    )
    chosen = policy.select(candidates) & candidates.eligible
    if not chosen.any(dim=-1).all():
        raise RuntimeError(f"{policy} committed nothing where masks remain; a policy must commit at least one.")
    return [
        [position for position, picked in zip(reading.positions, mask, strict=False) if picked]
        for reading, mask in zip(readings, chosen.tolist(), strict=True)
    ]


def _proposals(readout: Readout, row: Row, reading: RowReading, positions: Sequence[int]) -> dict[int, int]:
    """The token each position takes: the most likely one, or a sample at a temperature."""
    index = [reading.positions.index(position) for position in positions]
    if row.plan.temperature == 0:
        return dict(zip(positions, reading.statistics.argmax[index].tolist(), strict=True))
    sides = reading.states.chunk(row.plan.nfe_per_step)
    states = torch.cat([side[index] for side in sides])
    seeds = [row.plan.key.seed("token", row.steps, position) for position in positions]
    return dict(zip(positions, readout.sample(row.plan.logit_rule, states, row.plan.temperature, seeds), strict=True))


def _grouped(items: Iterable[int], key: Callable[[int], Hashable]) -> dict[Any, list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
