"""Decoding while memory is taken away step by step, until a single row no longer fits: no result may change.

    python -m benchmarks.shortage --free 8192 4096 2048 1024 512 256 128 64

A tensor of no use takes all memory of the GPU but so many MiB, beside the weights. In each step rows are decoded and
compared with those of a run that had all memory; what the run gave up on the way is counted from its own messages. A
run that ends with its one line about a row that does not fit is no difference; a different row ends the script with
code 1.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from benchmarks.identity import KINDS, Company, Differences, decoded, make_plans
from benchmarks.networks import random_backbone
from benchmarks.options import command, parsed, parser, start
from benchmarks.replay import random_prompts, spread_lengths
from benchmarks.report import Report, Value
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.engine.plan import RowPlan
from lm_eval_mdlm.errors import UsageError


class Messages(logging.Handler):
    """Keeps what the engine logs."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.told.append(record.getMessage())


@contextmanager
def only(free: int, device: torch.device) -> Iterator[None]:
    """All memory but `free` bytes is taken while the context is open."""
    torch.cuda.empty_cache()
    available, _ = torch.cuda.mem_get_info(device)
    ballast = torch.empty(max(0, available - free), dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del ballast
        torch.cuda.empty_cache()


def squeezed(backbone: Backbone, plans: Sequence[RowPlan], batch: int, reference: Sequence) -> dict[str, Value]:  # type: ignore[type-arg]
    """One run: whether it was refused, what it gave up, and how its rows differ from the reference."""
    log, messages = logging.getLogger("lm_eval.mdlm"), Messages()
    log.addHandler(messages)
    try:
        records = decoded(backbone, plans, Company(batch_size=batch, shuffled=False))
    except UsageError as error:
        records, messages.told = None, [*messages.told, str(error)]
    finally:
        log.removeHandler(messages)
    found = None if records is None else Differences.between(reference, records)
    return {
        "refused": records is None,
        "recordings or slots given up": sum("given up" in told for told in messages.told),
        "passes run unrecorded": any("unrecorded" in told for told in messages.told),
        "budget halved": sum("at most" in told for told in messages.told),
        "rows that waited": sum("waits for others" in told for told in messages.told),
        "differing": None if found is None else found.any,
        "last message": messages.told[-1] if messages.told else None,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Take memory away, write the report, and exit with code 1 if anything differed."""
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=64)
    made.add_argument("--batch", type=int, default=32)
    made.add_argument("--prompts", type=int, nargs=2, default=[60, 500], help="shortest and longest prompt")
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=["exact", "dual"])
    made.add_argument("--free", type=int, nargs="+", default=[8192, 4096, 2048, 1024, 512, 256, 128, 64], help="MiB")
    options = parsed(made, argv)
    if options.device.type != "cuda":
        raise UsageError(f"--device must be a GPU, got {options.device}: memory of another kind cannot be taken away.")
    backbone = random_backbone(options.shape, str(options.device), options.dtype)
    prompts = random_prompts(spread_lengths(options.prompts, options.rows), backbone.vocab_size)
    rows: list[dict[str, Value]] = []
    for kind in options.kinds:
        plans = make_plans(backbone, prompts, reasoning=24, answer=3, kind=KINDS[kind])
        reference = decoded(backbone, plans, Company(batch_size=options.batch, shuffled=False))
        for free in options.free:
            backbone.give_up()
            with only(free * 2**20, options.device):
                found = squeezed(backbone, plans, options.batch, reference)
            rows.append({"kind": kind, "free, MiB": free, **found})
    differed = any(row["differing"] for row in rows)
    facts: dict[str, Value] = {"shape": f"{options.shape_name} {options.shape}", "identical": not differed}
    line = command("shortage", argv)
    Report(name="shortage", command=line, rows=rows, device=options.device, facts=facts).write(options.out)
    if differed:
        sys.exit(1)


if __name__ == "__main__":
    start(main)
