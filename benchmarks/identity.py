"""Whether a row's result depends on its company: the same rows at several batch sizes, orders, with and without refill.

    python -m benchmarks.identity --rows 256 --batch-sizes 1 7 32
    python -m benchmarks.identity --kinds exact sampled dual prefix --batch-sizes 1 --tokens 16384 --orders 5
    python -m benchmarks.identity --kinds samplers --rows 64

Rows have prompts of different lengths and regions with an answer block. They are decoded by MED, or by the sampler that
a kind names, and half of them end early, with thresholds taken from the network's own entropies and confidences, so
that one flipped bit can change what is committed, when, and how many passes it takes. Tokens, NFE, exit step and answer
entropy must be equal exactly: any difference is printed and ends the script with code 1.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
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


Options = dict[str, Any]


@dataclass(frozen=True)
class Typical:
    """Of a network's masked positions: medians."""

    entropy: float
    """Nats."""
    confidence: float
    """Largest probability."""


def _med(typical: Typical) -> Options:
    return {"sampler": "med", "entropy_threshold": typical.entropy, "k_max": 4}


KINDS: dict[str, Callable[[Typical], Options]] = {
    "exact": _med,
    "sampled": lambda typical: {**_med(typical), "temperature": 0.7},
    "dual": lambda typical: {**_med(typical), "cache": "dual"},
    "prefix": lambda typical: {**_med(typical), "cache": "prefix"},
}
"""Kinds of decoding, as options beside those that all rows have."""
SAMPLERS: dict[str, Callable[[Typical], Options]] = {
    "entropy_bound": lambda typical: {"entropy_bound": 2 * typical.entropy},
    "confidence_threshold": lambda typical: {"confidence_threshold": typical.confidence},
    "confidence_factor": lambda typical: {"factor": 3.5, "temperature": 0.5},
    "klass": lambda typical: {"confidence_threshold": typical.confidence, "kl_threshold": 1.0, "history": 1},
    "credit": lambda typical: {"confidence_threshold": 1.3 * typical.confidence, "temperature": 0.5},
    "local_leap": lambda typical: {
        "confidence_threshold": 1.2 * typical.confidence,
        "relaxed_threshold": typical.confidence,
        "radius": 2,
    },
    "dream": lambda typical: {"steps": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 50},
    "slow_fast": lambda typical: {
        "confidence_threshold": typical.confidence,
        "slow_threshold": typical.confidence,
        "max_slow_steps": 3,
    },
    "ada_block": lambda typical: {
        "confidence_threshold": typical.confidence,
        "delimiter_threshold": 0.0,
        "delimiters": list(range(100)),
        "block_length": 4,
    },
    "sliding_block": lambda typical: {"confidence_threshold": typical.confidence, "block_length": 4},
    "dus": lambda typical: {"remask_below": typical.confidence},
    "remdm": lambda typical: {"remdm_loops": 2},
    "edit": lambda typical: {
        "confidence_threshold": typical.confidence,
        "edit_threshold": typical.confidence,
        "max_edit_passes": 3,
    },
    "fixed_k": lambda typical: {"k": 3, "score": "random", "min_distance": 4.0},
}
"""The other samplers, each as a kind of its own."""
KINDS |= {
    sampler: lambda typical, sampler=sampler, make=make: {"sampler": sampler, **make(typical)}  # type: ignore[misc]
    for sampler, make in SAMPLERS.items()
}


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
def typical(backbone: Backbone, prompts: Sequence[Sequence[int]], num_masks: int) -> Typical:
    """Of the masked positions behind a few prompts."""
    found = []
    for prompt in prompts:
        canvas = torch.tensor([*prompt, *[backbone.mask_token_id] * num_masks])
        masked = torch.arange(len(prompt), len(canvas))
        logits = backbone.head(backbone.states(canvas, [len(canvas)], masked)).float()
        logits[:, backbone.mask_token_id] = -torch.inf
        read = statistics(logits)
        found.append(torch.stack([read.entropy, read.confidence]).cpu())
    entropy, confidence = torch.cat(found, dim=1).median(dim=1).values.tolist()
    return Typical(entropy, confidence)


def make_plans(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    reasoning: int,
    answer: int,
    kind: Callable[[Typical], Options] = _med,
) -> list[RowPlan]:
    """One kind of decoding on every row, with an early exit on every other one."""
    of_network = typical(backbone, prompts[:8], reasoning + answer)
    options: Options = {"template": [{"reasoning": reasoning}, {"answer": answer}], **kind(of_network)}
    in_blocks = DecodingConfig.from_options(options).policy().has_fixed_blocks
    # Half of the answer's entropy is left when about half of the answer has been committed.
    exiting = options | {"exit_threshold": of_network.entropy * answer / 2}
    if in_blocks:
        options, exiting = options | {"block_length": 6}, exiting | {"block_length": reasoning + answer}
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
    made.add_argument("--kinds", nargs="+", choices=(*KINDS, "samplers"), default=["exact"], help="of decoding")
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
        for named in options.kinds
        for kind in (SAMPLERS if named == "samplers" else [named])
        for run in compare(
            backbone,
            make_plans(backbone, prompts, options.reasoning, options.answer, KINDS[kind]),
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
