"""From the queries of several jobs to one reading: a packed forward pass, and statistics where they are wanted."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..backbones.backbone import Backbone, CanvasPart
from ..decoding.logits import LogitRule
from .job import Job
from .kept import Comparison, logits_at
from .not_finite import NotFinite
from .query import COLUMNS, Query, Reading
from .readout import Readout
from .states import states_at


def read(readout: Readout, jobs: Sequence[Job]) -> Reading:
    """One pass over all jobs; it changes no job but for slots that are reserved, and may be repeated.

    Raises:
        NotFinite: For jobs whose distributions are no numbers.
        torch.OutOfMemoryError: If the pass does not fit.
    """
    queries = [job.query() for job in jobs]
    reading = _statistics(readout, _states(readout.backbone, jobs, queries), queries)
    refuse_not_finite(jobs, reading)
    return reading


def refuse_not_finite(jobs: Sequence[Job], reading: Reading) -> None:
    """NotFinite for jobs with an entropy of NaN, which is what NaN, +inf, or -inf for every token come to."""
    missing = np.isnan(reading.entropy)
    if missing.any():
        raise NotFinite([job for i, job in enumerate(jobs) if missing[reading.at(i)].any()])


def _states(backbone: Backbone, jobs: Sequence[Job], queries: Sequence[Query]) -> list[Float[Tensor, "_ D"]]:
    """The states of each job's wanted positions, from one pass over all canvases; another one for jobs with a cache."""
    states: dict[int, Float[Tensor, "_ D"]] = {}
    for forward, members in grouped(
        range(len(jobs)), lambda i: _exact if queries[i].recomputed is None else _cached
    ).items():
        together = forward(backbone, [jobs[i] for i in members], [queries[i] for i in members])
        split = torch.split(together, [queries[i].num_rows for i in members])
        states.update(zip(members, split, strict=True))
    return [states[i] for i in range(len(jobs))]


def _exact(backbone: Backbone, jobs: Sequence[Job], queries: Sequence[Query]) -> Float[Tensor, "R D"]:
    canvases = [canvas for query in queries for canvas in query.canvases]
    lengths = [len(canvas) for canvas in canvases]
    places = [query.wanted for query in queries for _ in query.canvases]
    wanted = np.concatenate([start + own for start, own in zip(accumulate([0, *lengths]), places, strict=False)])
    return backbone.states(torch.from_numpy(np.concatenate(canvases)), lengths, torch.from_numpy(wanted))


def _cached(backbone: Backbone, jobs: Sequence[Job], queries: Sequence[Query]) -> Float[Tensor, "R D"]:
    parts = []
    for job, query in zip(jobs, queries, strict=True):
        job.slots = job.slots or [backbone.reserve(len(canvas)) for canvas in query.canvases]
        positions = query.recomputed
        assert positions is not None
        found = np.searchsorted(positions, query.wanted)
        assert np.array_equal(positions[found], query.wanted), "positions that are wanted are not recomputed"
        wanted, own = torch.from_numpy(found), torch.from_numpy(positions)
        for canvas, slot in zip(query.canvases, job.slots, strict=True):
            token_ids = torch.from_numpy(canvas[positions])
            parts.append(CanvasPart(token_ids=token_ids, positions=own, wanted=wanted, slot=slot))
    return backbone.partial_states(parts)


def _statistics(readout: Readout, states: Sequence[Float[Tensor, "_ D"]], queries: Sequence[Query]) -> Reading:
    """Statistics of every job, read together for jobs that treat logits alike."""
    ends = [0, *accumulate(len(query.wanted) for query in queries)]
    reading = Reading(
        entropy=np.empty(ends[-1], dtype=np.float32),
        confidence=np.empty(ends[-1], dtype=np.float32),
        margin=np.empty(ends[-1], dtype=np.float32),
        logit_gap=np.empty(ends[-1], dtype=np.float32),
        argmax=np.empty(ends[-1], dtype=np.int64),
        log_prob=np.full(ends[-1], np.nan, dtype=np.float32),
        divergence=np.full(ends[-1], np.nan, dtype=np.float32),
        ends=ends,
        states=list(states),
        logits=[()] * len(states),
    )
    for (rule, has_targets), members in grouped(
        range(len(queries)), lambda i: (queries[i].rule, queries[i].targets is not None)
    ).items():
        _read(readout, rule, reading, {i: queries[i] for i in members}, has_targets=has_targets)
    return reading


def _read(
    readout: Readout, rule: LogitRule, reading: Reading, queries: Mapping[int, Query], *, has_targets: bool
) -> None:
    """Fill in what some jobs ask for, whose rule is the same and of which all or none have targets."""
    members, counts = list(queries), [len(query.wanted) for query in queries.values()]
    targets = [query.targets for query in queries.values() if query.targets is not None]
    packed, logits = readout.enqueue(
        rule,
        states_at(rule, [reading.states[i] for i in members], [np.arange(count) for count in counts]),
        torch.from_numpy(np.concatenate(targets)) if has_targets else None,
        keep=any(query.looked_at for query in queries.values()),
    )
    if logits:
        for i, *own in zip(members, *(torch.split(side, counts) for side in logits), strict=True):
            reading.logits[i] = tuple(own)
    compared = {i: query.compared for i, query in queries.items() if query.compared is not None}
    moved = _divergence(readout, rule, reading, compared) if compared else packed.new_empty(0)
    # The one wait for the device in a step; float64 holds all of it.
    together = (torch.cat([packed.flatten(), moved.double()]) if compared else packed).cpu().numpy().reshape(-1)
    places = reading.places(members)
    for name, values in zip(COLUMNS, together[: packed.numel()].reshape(packed.shape), strict=False):
        getattr(reading, name)[places] = values  # the last one is there for targets only
    if compared:
        at = np.concatenate([reading.ends[i] + one.rows for i, one in compared.items()])
        reading.divergence[at] = together[packed.numel() :]


def _divergence(
    readout: Readout, rule: LogitRule, reading: Reading, compared: Mapping[int, Comparison]
) -> Float[Tensor, " _"]:
    """Of all that is compared, job after job, on the device: from logits if all were kept, or from states."""
    rows = [[one.rows for one in compared.values()], [one.rows_before for one in compared.values()]]
    before = [one.before for one in compared.values()]
    logits = [[reading.logits[i] for i in compared], [one.logits for one in before]]
    if all(logits[0]) and all(logits[1]):
        now, then = (logits_at(own, places) for own, places in zip(logits, rows, strict=True))
        return readout.reader.divergence(rule, now, then)
    states = [[reading.states[i] for i in compared], [one.states for one in before]]
    return readout.enqueue_divergence(
        rule, *(states_at(rule, own, places) for own, places in zip(states, rows, strict=True))
    )


def grouped(items: Iterable[int], key: Callable[[int], Hashable]) -> dict[Any, list[int]]:
    """Items by their key, both in the order in which they come."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
