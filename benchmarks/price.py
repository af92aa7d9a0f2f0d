"""What it costs that a row's bits do not depend on its batch: the same passes with and without that promise.

    python -m benchmarks.price --rows 1 8 32 --in-flight 128 256

`kept` is the engine as it is. `given up` runs the same kernels and recordings on the same weights, but lets the library
choose its products freely: sums over the inner dimension may be split over blocks, no product is filled up to a least
number of rows, and torch chooses the library. Both decode the same rows at a known number of passes, turn by turn. Then
MED decodes many rows at once, several times in different orders, and rows whose tokens or answer entropies differ from
the first run are counted: what was bought.
"""

from collections.abc import Sequence
from unittest import mock

import torch

from benchmarks.engine import even_case, side_by_side
from benchmarks.identity import Company, Differences, decoded, make_plans
from benchmarks.networks import Shape, backbone_of, random_network
from benchmarks.options import command, parsed, parser, start
from benchmarks.replay import random_prompts, spread_lengths
from benchmarks.report import Measurement, Report, Value
from benchmarks.timing import matmul_peak, seconds
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.backbones.invariance import MatrixProducts


FREE = MatrixProducts(minimum_rows=1)
"""Products as the library likes them best."""


def both(shape: Shape, device: torch.device, dtype: torch.dtype) -> dict[str, Backbone]:
    """The promise kept and given up, over the weights of one network."""
    network = random_network(shape, str(device), dtype)
    kept = backbone_of(network, shape, device)
    with mock.patch.object(MatrixProducts, "on", lambda device, dtype: FREE):
        return {"kept": kept, "given up": backbone_of(network, shape, device)}


def priced(
    backbones: dict[str, Backbone],
    shape: Shape,
    lengths: Sequence[int],
    batch: int,
    masks: int,
    passes: int,
    repeats: int,
) -> list[dict[str, Value]]:
    """Time per pass and row of both, at one number of rows; the throughput is over that of `kept`."""
    cases = []
    for name, backbone in backbones.items():
        prompts = random_prompts(lengths, backbone.vocab_size)
        k = -(-masks // passes)
        cases.append(even_case(backbone, name, prompts, batch=batch, num_masks=masks, block_length=masks, k=k))
    lines = side_by_side(backbones["kept"].device, shape, cases, repeats=repeats)
    return [{"rows at a time": batch, **line} for line in lines]


def bought(
    name: str, backbone: Backbone, prompts: Sequence[Sequence[int]], in_flight: int, repeats: int
) -> dict[str, Value]:
    """Rows that differ between runs in different orders, and the time of a run."""
    plans = make_plans(backbone, prompts, reasoning=6, answer=3)
    orders = [Company(batch_size=in_flight, shuffled=i > 0, order=i) for i in range(repeats)]
    runs, times = [], []
    for company in orders:
        times.append(seconds(backbone.device, lambda company=company: runs.append(decoded(backbone, plans, company))))
    pairs = [list(zip(runs[0], run, strict=True)) for run in runs[1:]]
    found = [Differences.between(runs[0], run) for run in runs[1:]]
    return {
        "case": name,
        "rows at a time": in_flight,
        "runs": repeats,
        "s per run": Measurement(tuple(times)),
        "rows with other tokens": sum(a.token_ids != b.token_ids for pair in pairs for a, b in pair),
        "rows with other entropies": sum(difference.answer_entropies for difference in found),
        "rows with other NFE": sum(difference.nfe for difference in found),
        "of": sum(map(len, pairs)),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the price and what it buys, and write the report."""
    made = parser(__doc__)
    made.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32], help="rows at a time whose passes are timed")
    made.add_argument("--in-flight", type=int, nargs="*", default=[128, 256], help="rows at a time that are compared")
    made.add_argument("--prompts", type=int, nargs=2, default=[300, 500], help="shortest and longest prompt")
    made.add_argument("--masks", type=int, default=32)
    made.add_argument("--passes", type=int, default=8, help="of each row that is timed, about")
    made.add_argument("--repeats", type=int, default=5)
    options = parsed(made, argv)
    peak = matmul_peak(options.device, options.dtype)
    with torch.inference_mode():
        backbones = both(options.shape, options.device, options.dtype)
    rows: list[dict[str, Value]] = []
    for batch in options.rows:
        lengths = spread_lengths(options.prompts, batch)
        sizes = (batch, options.masks, options.passes, options.repeats)
        rows += priced(backbones, options.shape, lengths, *sizes)
    for in_flight in options.in_flight:
        vocab = options.shape.vocab
        prompts = random_prompts(spread_lengths(options.prompts, in_flight), vocab)
        rows += [bought(name, one, prompts, in_flight, options.repeats) for name, one in backbones.items()]
    facts: dict[str, Value] = {
        "shape": f"{options.shape_name} {options.shape}",
        "dtype": str(options.dtype),
        "matmul peak, TFLOP/s": peak.scaled(1e-12),
    }
    line = command("price", argv)
    Report(name="price", command=line, rows=rows, device=options.device, facts=facts).write(options.out)


if __name__ == "__main__":
    start(main)
