"""The packaged model on a CPU: what the engine adds to its forward passes, and what a batch gains.

    python -m benchmarks.cpu --threads 1 --repeats 5

First the engine at each number of rows against its own passes run bare, then the matrix products of one layer alone,
for one canvas and for a batch: a batch cannot gain more than they do where they take the time.
"""

import argparse
import itertools
from collections.abc import Sequence

import torch

from benchmarks.engine import even_case, measure
from benchmarks.flops import layer_parameters
from benchmarks.networks import SHAPES, Shape
from benchmarks.options import command, parsed, parser, start
from benchmarks.replay import random_prompts, spread_lengths
from benchmarks.report import Measurement, Report, Value
from benchmarks.timing import linear_seconds, matmul_peak
from lm_eval_mdlm import load_backbone


DEMO = SHAPES["demo"]


def engine_lines(options: argparse.Namespace, peak: float) -> list[dict[str, Value]]:
    """The same prompts at each number of rows."""
    backbone = load_backbone("demo", device="cpu", dtype="float32")
    lengths = spread_lengths(options.prompts, max(options.rows))
    # The special tokens of this tokenizer come first; nothing else about a prompt matters to the time.
    prompts = [[token + 8 for token in prompt] for prompt in random_prompts(lengths, backbone.vocab_size - 20)]
    sizes = {"num_masks": options.masks, "block_length": options.block_length, "k": options.k}
    rows = []
    for batch in options.rows:
        case = even_case(backbone, f"engine, batch {batch}", prompts, batch=batch, **sizes)
        rows.append(measure(backbone, DEMO, case, peak=peak, repeats=options.repeats))
    return rows


def products(shape: Shape, num_rows: int, repeats: int) -> Measurement:
    """Seconds of all matrix products of one layer over so many rows."""
    hidden, ffn = shape.hidden, shape.ffn
    sizes = [(hidden, hidden)] * 4 + [(ffn, hidden)] * 2 + [(hidden, ffn)]
    each = [linear_seconds(torch.randn(size), num_rows, repeats).values for size in sizes]
    return Measurement(tuple(map(sum, zip(*each, strict=True))))


def product_lines(options: argparse.Namespace, peak: float) -> list[dict[str, Value]]:
    """Matrix products of a layer for as many canvases as the engine had rows."""
    canvas = sum(options.prompts) // 2 + options.masks
    rows: list[dict[str, Value]] = []
    for batch in options.rows:
        tokens = batch * canvas
        took = products(DEMO, tokens, 4 * options.repeats)
        flops = 2 * layer_parameters(DEMO) * tokens
        line: dict[str, Value] = {"case": f"products of a layer, {batch} canvases", "tokens per pass": tokens}
        line |= {"TFLOP/s": took.per(flops / 1e12), "% of matmul peak": 100 * flops / peak / took.median}
        rows.append(line | {"ms per NFE": took.scaled(1e3 / batch)})
    return rows


def gains(lines: Sequence[dict[str, Value]]) -> list[dict[str, Value]]:
    """The lines with their throughput over that of the first, repeat by repeat."""
    times = [line["ms per NFE"] for line in lines]
    first = times[0]
    assert isinstance(first, Measurement), "the first line has no time"
    pairs = zip(lines, times, strict=True)
    return [{**line, "times the first": first.over(time)} for line, time in pairs if isinstance(time, Measurement)]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure engine and products and write the report."""
    made = parser(__doc__, with_shape=False)
    made.add_argument("--rows", type=int, nargs="+", default=[1, 16], help="B, rows at a time")
    made.add_argument("--prompts", type=int, nargs=2, default=[40, 100], help="shortest and longest, tokens")
    made.add_argument("--masks", type=int, default=108, help="of a region; that of the packaged model's tasks")
    made.add_argument("--block-length", type=int, default=108)
    made.add_argument("--k", type=int, default=12, help="tokens a pass commits; 9 passes at 108 masks")
    made.add_argument("--repeats", type=int, default=5)
    options = parsed(made, argv)
    peak = matmul_peak(options.device, options.dtype)
    with torch.inference_mode():
        parts = [engine_lines(options, peak.median), product_lines(options, peak.median)]
    rows = list(itertools.chain.from_iterable(map(gains, parts)))
    facts: dict[str, Value] = {"shape": f"demo {DEMO}", "matmul peak, TFLOP/s": peak.scaled(1e-12)}
    Report(name="cpu", command=command("cpu", argv), rows=rows, device=options.device, facts=facts).write(options.out)


if __name__ == "__main__":
    start(main)
