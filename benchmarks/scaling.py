"""Throughput over rows at a time, canvas length and processes.

    python -m benchmarks.scaling --batch 1 16 --lengths 208 400
    torchrun --nproc-per-node 2 -m benchmarks.scaling --baseline build/benchmarks/scaling_1.json

All processes get the same prompts, share them and end with all records; a time is that of the slowest process, until
then. The speed-up is over one process: from `--baseline`, a report of a run with one, or measured first by process 0
while the others wait. Rows differ in length and, by MED, in their number of passes, so that sharing them is work.
"""

import argparse
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.identity import typical
from benchmarks.networks import random_backbone
from benchmarks.options import command, parsed, parser, start
from benchmarks.replay import random_prompts, recorded, spread_lengths
from benchmarks.report import Measurement, Report, Value
from benchmarks.timing import seconds
from lm_eval_mdlm import Generation, generate
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.running.processes import ProcessGroup


def slowest(group: ProcessGroup, device: torch.device, took: float) -> float:
    """The longest of all processes' times."""
    return float(group.all_gather(torch.tensor([took], device=device)).max())


def measure(
    backbone: Backbone, group: ProcessGroup, run: partial[list[Generation]], repeats: int
) -> tuple[Measurement, list[int]]:
    """Seconds until the last process has all records, and NFE by process of one run before, which warms up."""
    with recorded(backbone) as passes:
        run()
    mine = torch.tensor([sum(len(one.lengths) for one in passes)], device=backbone.device)
    shares: list[int] = group.all_gather(mine).tolist()
    times = []
    for _ in range(repeats):
        group.barrier()
        times.append(slowest(group, backbone.device, seconds(backbone.device, run)))
    return Measurement(tuple(times)), shares


def baselines(path: Path) -> dict[tuple[int, int, int], float]:
    """Median seconds of each (batch, length, NFE) of a report of one process."""
    lines = json.loads(path.read_text())["rows"]
    if any(line["processes"] != 1 for line in lines):
        raise UsageError(f"--baseline must be a report of one process, got {path}; run without a launcher first.")
    return {(line["B"], line["L"], line["NFE"]): line["seconds"]["median"] for line in lines}


def alone_seconds(options: argparse.Namespace, group: ProcessGroup, run: partial[list[Generation]]) -> float | None:
    """Median seconds of process 0 by itself; None on the others, which wait."""
    took = None
    if group.rank == 0:
        run()
        took = Measurement(tuple(seconds(options.device, run) for _ in range(options.repeats))).median
    group.barrier()
    return took


def lines(options: argparse.Namespace, group: ProcessGroup) -> list[dict[str, Value]]:
    """One line per batch size and length; on every process, which all have to take part."""
    backbone = random_backbone(options.shape, str(options.device), options.dtype)
    known = baselines(options.baseline) if options.baseline else {}
    rows: list[dict[str, Value]] = []
    for length in options.lengths:
        lengths = spread_lengths((length // 2, length - options.masks), options.rows)
        prompts = random_prompts(lengths, backbone.vocab_size)
        threshold = typical(backbone, prompts[:8], options.masks).entropy
        for batch in options.batch:
            decoding: dict[str, Any] = {"batch_size": batch, "gen_length": options.masks, "block_length": options.masks}
            decoding |= {"sampler": "med", "entropy_threshold": threshold, "k_max": options.k_max}
            run = partial(generate, backbone, prompts, **decoding)
            measured = None
            if not known and group.world_size > 1:
                measured = alone_seconds(options, group, run)
            took, shares = measure(backbone, group, partial(run, group=group), options.repeats)
            nfe = sum(shares)
            if known and (batch, length, nfe) not in known:
                raise UsageError(
                    f"--baseline must hold B={batch}, L={length} with NFE {nfe}, and {options.baseline} does not; run "
                    f"it with the same options."
                )
            alone = known.get((batch, length, nfe), measured)
            rows.append(
                {
                    "processes": group.world_size,
                    "B": batch,
                    "L": length,
                    "rows": len(prompts),
                    "NFE": nfe,
                    "NFE by process": " ".join(map(str, shares)),
                    "seconds": took,
                    "NFE per s": took.per(nfe),
                    "times one process": None if alone is None else took.per(alone),
                }
            )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the grid; process 0 writes the report."""
    made = parser(__doc__)
    made.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="B, rows at a time of each process")
    made.add_argument("--lengths", type=int, nargs="+", default=[400], help="L, tokens of the longest canvas")
    made.add_argument("--rows", type=int, default=64, help="rows to decode, shared by all processes")
    made.add_argument("--masks", type=int, default=16, help="masked tokens of a row")
    made.add_argument("--k-max", type=int, default=8, help="most tokens that a pass commits")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--baseline", type=Path, help="JSON report of a run with one process")
    options = parsed(made, argv)
    if options.device.type == "cpu":
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")  # without it, accelerate takes each process for a run alone
    group = ProcessGroup()
    options.device = torch.device(group.device(str(options.device)) or options.device)
    with torch.inference_mode():
        rows = lines(options, group)
    if group.rank == 0:
        facts: dict[str, Value] = {"shape": f"{options.shape_name} {options.shape}", "dtype": str(options.dtype)}
        line = command("scaling", argv)
        name = f"scaling_{group.world_size}"
        Report(name=name, command=line, rows=rows, device=options.device, facts=facts).write(options.out)


if __name__ == "__main__":
    start(main)
