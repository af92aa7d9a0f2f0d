"""Log-likelihoods by sampling: how close to bare passes, the same bits in any company, and what that promise costs.

    python -m benchmarks.likelihood --texts 8 --repeats 3
    python -m benchmarks.likelihood --texts 2 --in-flight 1 8 128 256 --orders 5 --repeats 0

The first part times the engine at `elbo` with --samples passes per text, packed to --tokens tokens, in turn with the
same passes run bare (`benchmarks.replay`), and with the engine over products that give bit-identity up (`given up`, see
`benchmarks.price`). The second part scores the same texts with so many canvases in flight and in so many orders: all
log-probabilities must be one set of bits, else the script ends with code 1.
"""

import argparse
import random
import sys
from collections.abc import Sequence

import torch

from benchmarks.flops import pass_flops
from benchmarks.networks import Shape
from benchmarks.options import command, parsed, parser, start
from benchmarks.price import both
from benchmarks.replay import Pass, random_prompts, recorded, replay, spread_lengths
from benchmarks.report import Measurement, Report, Value
from benchmarks.timing import matmul_peak, seconds
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.record import Scores
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.likelihood import LikelihoodConfig
from lm_eval_mdlm.running.scoring import ScoreRequest, Text


def requests_of(vocab: int, options: argparse.Namespace) -> list[ScoreRequest]:
    """Random texts after random contexts."""
    contexts = random_prompts(spread_lengths(options.contexts, options.texts), vocab)
    texts = random_prompts(spread_lengths(options.lengths, options.texts), vocab, seed=1)
    likelihood = LikelihoodConfig.from_options({"mc_num": options.samples})
    return [
        ScoreRequest(texts=(Text(context_ids=context, text_ids=text),), config=DecodingConfig(), likelihood=likelihood)
        for context, text in zip(contexts, texts, strict=True)
    ]


def scored(backbone: Backbone, requests: Sequence[ScoreRequest], budget: Budget, order: int = 0) -> list[float]:
    """The log-probability of every text, run in one of several orders."""
    queue = [(i, request.work(backbone)) for i, request in enumerate(requests)]
    if order:
        random.Random(order).shuffle(queue)
    found: dict[int, Scores] = dict(answer(Readout(backbone), queue, budget))
    return [found[i].log_prob for i in range(len(requests))]


def throughput(
    backbones: dict[str, Backbone], shape: Shape, options: argparse.Namespace
) -> tuple[list[dict[str, Value]], Measurement]:
    """Time of the passes by the engine, bare, and with bit-identity given up, turn by turn; and the machine's peak."""
    kept, budget = backbones["kept"], Budget(max_tokens=options.tokens)
    requests = requests_of(shape.vocab, options)
    with recorded(kept) as passes:
        scored(kept, requests, budget)
    written: list[Pass] = list(passes)
    actions = {
        "bare passes": lambda: replay(kept, written),
        "engine": lambda: scored(kept, requests, budget),
        "engine, given up": lambda: scored(backbones["given up"], requests, budget),
    }
    for action in actions.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(options.repeats):
        for name, action in actions.items():
            times[name].append(seconds(kept.device, action))
    measured = {name: Measurement(tuple(own)) for name, own in times.items()}
    flops = sum(pass_flops(shape, one.lengths, len(one.wanted)) for one in written)
    num_canvases = sum(len(one.lengths) for one in written)
    rows: list[dict[str, Value]] = []
    for name, own in measured.items():
        rows.append(
            {
                "case": name,
                "canvases": num_canvases,
                "passes": len(written),
                "canvases per s": own.per(num_canvases),
                "TFLOP/s, nominal": own.per(flops * 1e-12),
                "time over bare": own.over(measured["bare passes"]),
                "time over engine": own.over(measured["engine"]),
            }
        )
    return rows, matmul_peak(kept.device, kept.dtype)


def identities(backbone: Backbone, shape: Shape, options: argparse.Namespace) -> tuple[list[dict[str, Value]], bool]:
    """Sets of log-probabilities found for every number of canvases in flight, and whether they are all one."""
    requests = requests_of(shape.vocab, options)
    rows: list[dict[str, Value]] = []
    everywhere = set()
    for in_flight in options.in_flight:
        found = {
            tuple(scored(backbone, requests, Budget(max_rows=in_flight), order)) for order in range(options.orders)
        }
        everywhere |= found
        rows.append({"case": "orders", "in flight": in_flight, "runs": options.orders, "different sets": len(found)})
    rows.append({"case": "all together", "different sets": len(everywhere)})
    return rows, len(everywhere) <= 1


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, compare, write the report, and exit with code 1 if any bit differed."""
    made = parser(__doc__)
    made.add_argument("--texts", type=int, default=8)
    made.add_argument("--samples", type=int, default=128, help="passes of a text")
    made.add_argument("--contexts", type=int, nargs=2, default=[100, 400], help="shortest and longest context")
    made.add_argument("--lengths", type=int, nargs=2, default=[12, 60], help="shortest and longest text")
    made.add_argument("--tokens", type=int, default=16384, help="of a pass that is timed")
    made.add_argument("--in-flight", type=int, nargs="*", default=[], help="canvases at a time that are compared")
    made.add_argument("--orders", type=int, default=5, help="runs of each of these")
    made.add_argument("--repeats", type=int, default=3, help="of what is timed; 0 to time nothing")
    options = parsed(made, argv)
    with torch.inference_mode():
        backbones = both(options.shape, options.device, options.dtype)
    facts: dict[str, Value] = {"shape": f"{options.shape_name} {options.shape}", "dtype": str(options.dtype)}
    rows: list[dict[str, Value]] = []
    if options.repeats:
        rows, peak = throughput(backbones, options.shape, options)
        facts["matmul peak, TFLOP/s"] = peak.scaled(1e-12)
    compared, same = identities(backbones["kept"], options.shape, options)
    facts["identical"] = same
    line = command("likelihood", argv)
    Report(name="likelihood", command=line, rows=[*rows, *compared], device=options.device, facts=facts).write(
        options.out
    )
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    start(main)
