"""From the queries of several jobs to one reading: a packed forward pass, and statistics where they are wanted."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..backbones.backbone import Backbone, CanvasPart
from .job import Job
from .not_finite import NotFinite
from .query import COLUMNS, Query, Reading
from .readout import Readout


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
        ends=ends,
        states=list(states),
    )
    for (rule, has_targets), members in grouped(
        range(len(queries)), lambda i: (queries[i].rule, queries[i].targets is not None)
    ).items():
        own = [states[i] for i in members]
        if rule.guided:
            halves = [both.chunk(2) for both in own]
            own = [half for side in zip(*halves, strict=True) for half in side]
        targets = [target for i in members if (target := queries[i].targets) is not None]
        packed = readout.statistics(
            rule,
            torch.cat(own) if len(own) > 1 else own[0],
            torch.from_numpy(np.concatenate(targets)) if has_targets else None,
        )
        places = reading.places(members)
        for name, values in zip(COLUMNS, packed.numpy(), strict=False):  # the last one is there for targets only
            getattr(reading, name)[places] = values
    return reading


def grouped(items: Iterable[int], key: Callable[[int], Hashable]) -> dict[Any, list[int]]:
    """Items by their key, both in the order in which they come."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
