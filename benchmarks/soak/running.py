"""The order in which requests are asked, and how long each lot of them takes."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.soak.bits import Bits
from benchmarks.soak.lane import Company, Lane


LOT = (8, 96)
"""Fewest and most requests of a lot."""
BATCH_SIZES = (1, 3, 8, "auto")


@dataclass(frozen=True)
class Asked:
    """One request."""

    lane: Lane
    kind: str
    number: int


@dataclass(frozen=True)
class Timed:
    """How long some requests took."""

    requests: int
    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of this process, all its threads."""


def requests(lanes: Sequence[Lane], number: int) -> list[Asked]:
    """So many different requests: every lane and kind as often as any other, in an order drawn round by round."""
    pairs = [(lane, kind) for lane in lanes for kind in lane.kinds]
    found: list[Asked] = []
    while len(found) < number:
        order = random.Random(len(found)).sample(pairs, len(pairs))
        found += [Asked(lane, kind, len(found) + place) for place, (lane, kind) in enumerate(order)]
    return found[:number]


def answered(asked: Sequence[Asked], seed: int) -> Iterator[tuple[list[Asked], list[Bits], Timed]]:
    """Lot by lot the requests, their results and their time; `seed` decides the lots and their company."""
    draw, begun = random.Random(seed), 0
    while begun < len(asked):
        lot = list(asked[begun : begun + draw.randint(*LOT)])
        begun += len(lot)
        started, on_processor = time.monotonic(), time.process_time()
        bits = _answered(lot, draw)
        yield lot, bits, Timed(len(lot), time.monotonic() - started, time.process_time() - on_processor)


def _answered(lot: Sequence[Asked], draw: random.Random) -> list[Bits]:
    results: dict[int, Bits] = {}
    for lane in dict.fromkeys(asked.lane for asked in lot):
        own = [asked for asked in lot if asked.lane is lane]
        company = Company(
            mixed=draw.random() < 0.5,
            batch_size=draw.choice(BATCH_SIZES),
            journal=draw.random() < 0.25,
            record=draw.random() < 0.5,
        )
        found = lane.answered([(asked.kind, asked.number) for asked in own], company)
        results |= {asked.number: bits for asked, bits in zip(own, found, strict=True)}
    return [results[asked.number] for asked in lot]


def by_thirds(timed: Sequence[Timed]) -> list[Timed]:
    """The time of the first, second and last third of the requests, to the nearest lot."""
    total, done = sum(own.requests for own in timed), 0
    thirds = [Timed(0, 0.0, 0.0)] * 3
    for own in timed:
        which = int(3 * (done + own.requests / 2) / total)
        held = thirds[which]
        thirds[which] = Timed(
            held.requests + own.requests,
            held.seconds + own.seconds,
            held.processor_seconds + own.processor_seconds,
        )
        done += own.requests
    return thirds
