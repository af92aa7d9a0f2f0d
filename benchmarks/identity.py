"""Whether a row's result depends on its company: the same rows at several batch sizes, orders, with and without refill.

    python -m benchmarks.identity --rows 256 --batch-sizes 1 7 32
    python -m benchmarks.identity --kinds exact sampled dual prefix --batch-sizes 1 --tokens 16384 --orders 5

Rows have prompts of different lengths and regions with an answer block. They are decoded by MED, and half of them end
early, with thresholds taken from the network's own entropies, so that one flipped bit can change what is committed,
when, and how many passes it takes. Tokens, NFE, exit step and answer entropy must be equal exactly: any difference is
printed and ends the script with code 1.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.networks import random_backbone
from benchmarks.options import command, parsed, parser, start
from benchmarks.replay import random_prompts, spread_lengths
from benchmarks.report import Report, Value
from benchmarks.timing import synchronize
from lm_eval_mdlm import Generation
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.decoding.statistics import statistics
from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.plan import RowPlan
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.planning import plan_row


KINDS: dict[str, dict[str, Any]] = {
    "exact": {},
    "sampled": {"temperature": 0.7},
    "dual": {"cache": "dual"},
    "prefix": {"cache": "prefix"},
}
"""Kinds of decoding, as options beside those that all rows have."""


@dataclass(frozen=True, kw_only=True)
class Company:
    """Which rows meet in a pass."""

    batch_size: int | None
    """Rows at a time; None for as many as `max_tokens` allows."""
    shuffled: bool
    refill: bool = True
    order: int = 1
    """Which of the shuffled orders."""
    max_tokens: int | None = None
    """Of a pass."""

    def __str__(self) -> str:
        order = f"shuffled {self.order}" if self.shuffled else "as given"
        size = f"{self.max_tokens} tokens" if self.batch_size is None else f"batch {self.batch_size}"
        return f"{size}, {order}, refill {'on' if self.refill else 'off'}"


@dataclass(frozen=True)
class Differences:
    """Between two runs of the same rows."""

    tokens: int
    """Positions with another token, over all rows."""
    nfe: int
    """Rows with another number of passes; likewise below."""
    exits: int
    answer_entropies: int

    @property
    def any(self) -> bool:
        return bool(self.tokens or self.nfe or self.exits or self.answer_entropies)

    @classmethod
    def between(cls, first: Sequence[Generation], second: Sequence[Generation]) -> "Differences":
        """Compare row by row, numbers exactly."""
        pairs = list(zip(first, second, strict=True))
        return cls(
            tokens=sum(x != y for a, b in pairs for x, y in zip(a.token_ids, b.token_ids, strict=True)),
            nfe=sum(a.nfe != b.nfe for a, b in pairs),
            exits=sum(a.exit_step != b.exit_step for a, b in pairs),
            answer_entropies=sum(a.answer_entropy != b.answer_entropy for a, b in pairs),
        )


def companies(batch_sizes: Sequence[int], max_tokens: int | None = None, orders: int = 0) -> Iterator[Company]:
    """Every batch size, with and without refill, and passes of `max_tokens`, in so many orders.

    Batches come in at least two orders, a batch of one, which has nothing to refill, in no more; refill is left out in
    two orders.
    """
    for batch_size in batch_sizes:
        for order in range(max(2, orders) if batch_size > 1 else 2):
            for refill in (True, False) if batch_size > 1 and order < 2 else (True,):
                yield Company(batch_size=batch_size, shuffled=order > 0, refill=refill, order=order)
    for order in range(orders):
        yield Company(batch_size=None, shuffled=order > 0, order=order, max_tokens=max_tokens)


def decoded(backbone: Backbone, plans: Sequence[RowPlan], company: Company) -> list[Generation]:
    """Records in the order of the plans, whatever order they were decoded in."""
    queue = list(enumerate(plans))
    if company.shuffled:
        random.Random(company.order).shuffle(queue)
    budget = Budget(max_rows=company.batch_size, max_tokens=company.max_tokens, refill=company.refill)
    done = dict(decode(Readout(backbone), queue, budget))
    synchronize(backbone.device)
    return [done[i].generation(record_steps=False) for i in range(len(plans))]


@torch.inference_mode()
def median_entropy(backbone: Backbone, prompts: Sequence[Sequence[int]], num_masks: int) -> float:
    """Of the masked positions behind a few prompts, nats."""
    found = []
    for prompt in prompts:
        canvas = torch.tensor([*prompt, *[backbone.mask_token_id] * num_masks])
        masked = torch.arange(len(prompt), len(canvas))
        logits = backbone.head(backbone.states(canvas, [len(canvas)], masked)).float()
        logits[:, backbone.mask_token_id] = -torch.inf
        found.append(statistics(logits).entropy.cpu())
    return float(torch.cat(found).median())


def make_plans(
    backbone: Backbone, prompts: Sequence[Sequence[int]], reasoning: int, answer: int, **more: Any
) -> list[RowPlan]:
    """MED on every row, with an early exit on every other one; `more` are further decoding options of all."""
    threshold = median_entropy(backbone, prompts[:8], reasoning + answer)
    options: dict[str, Any] = {"sampler": "med", "entropy_threshold": threshold, "k_max": 4, "block_length": 6}
    options |= {"template": [{"reasoning": reasoning}, {"answer": answer}], **more}
    # Half of the answer's entropy is left when about half of the answer has been committed.
    exiting = options | {"exit_threshold": threshold * answer / 2, "block_length": reasoning + answer}
    configs = [DecodingConfig.from_options(own) for own in (options, exiting)]
    return [plan_row(backbone, prompt, configs[i % 2]) for i, prompt in enumerate(prompts)]


def compare(
    backbone: Backbone, plans: Sequence[RowPlan], batch_sizes: Sequence[int], **passes: Any
) -> Iterator[tuple[Company, list[Generation], Differences]]:
    """Every run with its differences from the first one; `passes` are further arguments of `companies`."""
    first: list[Generation] | None = None
    for company in companies(batch_sizes, **passes):
        records = decoded(backbone, plans, company)
        first = first or records
        yield company, records, Differences.between(first, records)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, write the report, and exit with code 1 if anything differed."""
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=256)
    made.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[1, 7, 32], help="the first is what others must equal"
    )
    made.add_argument("--prompts", type=int, nargs=2, default=[20, 300], help="shortest and longest prompt")
    made.add_argument("--reasoning", type=int, default=6, help="masks of the region's first segment")
    made.add_argument("--answer", type=int, default=3, help="masks of its answer")
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=["exact"], help="of decoding")
    made.add_argument("--tokens", type=int, default=16384, help="of a pass in the runs that --orders adds")
    made.add_argument("--orders", type=int, default=0, help="of runs in passes of --tokens, and of batches, at least 2")
    options = parsed(made, argv)
    backbone = random_backbone(options.shape, str(options.device), options.dtype)
    prompts = random_prompts(spread_lengths(options.prompts, options.rows), backbone.vocab_size)
    rows: list[dict[str, Value]] = []
    differed = False
    passes = {"max_tokens": options.tokens, "orders": options.orders}
    runs = (
        (kind, *run)
        for kind in options.kinds
        for run in compare(
            backbone,
            make_plans(backbone, prompts, options.reasoning, options.answer, **KINDS[kind]),
            options.batch_sizes,
            **passes,
        )
    )
    for kind, company, records, differences in runs:
        differed |= differences.any
        nfe = [record.nfe for record in records]
        line: dict[str, Value] = {"kind": kind, "run": str(company), "rows": len(records), "NFE": sum(nfe)}
        line |= {"NFE of a row": f"{min(nfe)} to {max(nfe)}", "early exits": sum(r.early_exit for r in records)}
        line |= {"differing tokens": differences.tokens, "differing NFE": differences.nfe}
        line |= {"differing exits": differences.exits, "differing answer entropies": differences.answer_entropies}
        rows.append(line)
    facts: dict[str, Value] = {
        "shape": f"{options.shape_name} {options.shape}",
        "dtype": str(options.dtype),
        "identical": not differed,
    }
    line_typed = command("identity", argv)
    Report(name="identity", command=line_typed, rows=rows, device=options.device, facts=facts).write(options.out)
    if differed:
        sys.exit(1)


if __name__ == "__main__":
    start(main)
