"""Mixed requests in one process for long: what it holds on to, whether it slows down, and whether bits stay the same.

    python -m benchmarks.soak --threads 1
    python -m benchmarks.soak --device cuda --requests 5000 --seconds 70

Requests of every kind (samplers, templates, exits, caches, guidance, given answers, likelihoods, scores of traces) go
to tiny networks of several families, in lots of random size, kind by kind through the public functions or all kinds in
one loop, some with a journal, some recorded; on a CPU also to one `MDLM` object of lm_eval. The first thousand warm
up. They are asked again at the end, in another order and company, and their bits must be the same. Where they are not,
where the process holds more at the end than the bounds of docs/faults.md allow, or where its last third is slower
than its first, a line says so and the exit code is 1.
"""

import argparse
import logging
import random
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.options import command, parsed, parser, start
from benchmarks.report import Report, Value
from benchmarks.soak.bits import Bits, Comparison
from benchmarks.soak.lane import Lane
from benchmarks.soak.networks import FAMILIES, lanes
from benchmarks.soak.resources import MIB, Bounds, Held
from benchmarks.soak.running import Asked, Timed, answered, by_thirds, requests
from lm_eval_mdlm.backbones.graphs import MOST_GRAPHS
from lm_eval_mdlm.errors import UsageError


LEAST_SPEED = 0.8
"""Of the last third, beside the first one's."""
LEAST_SECONDS = 30.0
"""Of a third whose speed is judged."""


class Soak:
    """A run: results of the first requests, and what has been measured since."""

    def __init__(self, lanes: Sequence[Lane], number: int, first: int, device: torch.device) -> None:
        """`number` requests, of which the first `first` come a second time at the end."""
        asked = requests(lanes, number - first)
        self.first, self.others = asked[:first], asked[first:]
        self.device = device
        self.held: dict[str, Held] = {}
        self.timed: list[Timed] = []
        self.again = Comparison()
        """Of the first requests with themselves at the end."""
        self._known: dict[int, Bits] = {}

    @property
    def since_start(self) -> int:
        """Requests that have been answered after the first ones."""
        return sum(own.requests for own in self.timed)

    def warm_up(self) -> None:
        """Ask the first requests."""
        for lot, bits, _ in answered(self.first, seed=0):
            self._known |= {asked.number: own for asked, own in zip(lot, bits, strict=True)}
        self.held["start"] = Held.now(self.device)

    def go_on(self, seconds: float | None) -> None:
        """Ask all others, or as many as the time allows, and the first ones again."""
        again = random.Random(1).sample(self.first, len(self.first))
        half = (len(self.others) + len(again)) / 2
        for lot, _, timed in answered(self.others, seed=1):
            self._note(lot, timed, half, seconds)
            if seconds is not None and sum(own.seconds for own in self.timed) > seconds:
                break
        for lot, bits, timed in answered(again, seed=2):
            self._note(lot, timed, half, seconds)
            for asked, own in zip(lot, bits, strict=True):
                self.again.add(self._known[asked.number], own)
        self.held["end"] = Held.now(self.device)

    def _note(self, lot: Sequence[Asked], timed: Timed, half: float, seconds: float | None) -> None:
        self.timed.append(timed)
        spent = sum(own.seconds for own in self.timed)
        is_late = seconds is not None and spent >= seconds / 2
        if "middle" not in self.held and (self.since_start >= half or is_late):
            self.held["middle"] = Held.now(self.device)

    def faults(self, bounds: Bounds) -> list[str]:
        """A line for everything that must not be."""
        compared, differ = self.again.compared, self.again.differing
        found = [f"{part} differ in {differ[part]} of {compared[part]} requests" for part in differ if differ[part]]
        found += bounds.exceeded(self.held["start"], self.held["end"], self.since_start)
        thirds = by_thirds(self.timed)
        if min(third.seconds for third in thirds) >= LEAST_SECONDS:
            before, _, after = (self._speed(third) for third in thirds)
            if after < LEAST_SPEED * before:
                found.append(f"requests per second fell from {before:.1f} to {after:.1f}")
        return found

    def _speed(self, third: Timed) -> float:
        """Requests per second: of the processor on a CPU, which others may use too, and by the clock on a GPU."""
        return third.requests / (third.processor_seconds if self.device.type == "cpu" else third.seconds)

    def rows(self) -> list[dict[str, Value]]:
        """The table."""
        thirds = dict(zip(("start", "middle", "end"), by_thirds(self.timed), strict=True))
        return [{"when": when, **_shown(self.held[when]), **_speeds(thirds[when])} for when in thirds]

    def facts(self) -> dict[str, Value]:
        """What was asked, and what of it was the same when it was asked again."""
        compared, differ = self.again.compared, self.again.differing
        kinds = {(asked.lane.name, asked.kind) for asked in self.first}
        return {
            "requests": len(self.first) + self.since_start,
            "kinds of requests, over all networks": len(kinds),
            **{f"{part}, requests compared and differing": f"{compared[part]}, {differ[part]}" for part in compared},
        }


def _shown(held: Held) -> dict[str, Value]:
    mib = {"RSS": held.resident, "allocated": held.allocated, "reserved": held.reserved, "taken of the GPU": held.taken}
    counts: dict[str, Value] = {"Python's blocks": held.blocks, "open files": held.open_files}
    counts |= {"threads": held.threads, "children": held.children, "recorded passes": held.recorded}
    return {**{f"{name}, MiB": None if size is None else round(size / MIB, 1) for name, size in mib.items()}, **counts}


def _speeds(third: Timed) -> dict[str, Value]:
    own: dict[str, Value] = {"requests in this third": third.requests}
    if third.requests:
        own["per second"] = third.requests / third.seconds
        own["per second of the processor"] = third.requests / third.processor_seconds
    return own


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines for users, of which every call has its own."""
    logger = logging.getLogger("lm_eval.mdlm")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__, with_shape=False)
    made.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    made.add_argument("--requests", type=int, default=20000, help="in all (%(default)s)")
    made.add_argument("--first", type=int, default=1000, help="that are asked again at the end (%(default)s)")
    made.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="all of them if left out")
    made.add_argument(
        *("--harness",),
        action=argparse.BooleanOptionalAction,
        help="whether lm_eval's model is asked, too; on a CPU if left out",
    )
    made.add_argument("--seconds", type=float, help="after which no new requests are asked; all are if left out")
    made.add_argument("--trace", type=int, default=0, help="lines of code whose memory grew most, to be shown; slow")
    options = parsed(made, argv)
    if not 0 < 2 * options.first <= options.requests:
        raise UsageError(f"--first must be at most half of --requests, got {options.first} of {options.requests}.")
    if options.harness is None:
        options.harness = options.device.type == "cpu"
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Run, write the report, and exit with code 1 for a fault."""
    options = _options(argv)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        asked = list(lanes(options.families, options.device, Path(folder), harness=options.harness))
        soak = Soak(asked, options.requests, options.first, options.device)
        soak.warm_up()
        if options.trace:
            tracemalloc.start()
            before = tracemalloc.take_snapshot()
        soak.go_on(options.seconds)
        if options.trace:
            grown = tracemalloc.take_snapshot().compare_to(before, "lineno")
            print(*grown[: options.trace], sep="\n")
    line = command("soak", argv)
    Report(name="soak", command=line, rows=soak.rows(), device=options.device, facts=soak.facts()).write(options.out)
    if faults := soak.faults(Bounds(recorded=len(asked) * MOST_GRAPHS)):
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    start(main)
