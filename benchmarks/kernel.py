"""One forward pass: its time against its FLOPs, its bytes, and what the machine can do.

    python -m benchmarks.kernel --tokens 208 400 1300 14336

T tokens are laid out as canvases of about `--canvas` tokens each, and the logits of `--wanted` of them are computed.
The limit is FLOPs over the measured rate of a large matrix product. Bytes over the rate of a copy stand beside it for
comparison only: a copy writes as much as it reads, and a pass reads far more, so that its rate is no bound.
"""

from collections.abc import Sequence

import torch

from benchmarks.flops import pass_bytes, pass_flops, spared_flops
from benchmarks.networks import Shape, random_backbone
from benchmarks.options import command, parsed, parser, start
from benchmarks.replay import Pass, bare_pass
from benchmarks.report import Report, Value
from benchmarks.timing import copy_bandwidth, matmul_peak, repeated
from lm_eval_mdlm.backbones.backbone import Backbone


def canvases(num_tokens: int, canvas: int) -> list[int]:
    """Lengths of canvases of about this size, of equal length but for a token, that hold all tokens."""
    number = max(1, round(num_tokens / canvas))
    return [num_tokens // number + (i < num_tokens % number) for i in range(number)]


def random_pass(backbone: Backbone, lengths: Sequence[int], wanted: float) -> Pass:
    """Random tokens, with the last share of each canvas wanted, at least one of them."""
    total = sum(lengths)
    draw = torch.Generator().manual_seed(0)
    token_ids = torch.randint(backbone.vocab_size, (total,), generator=draw)
    ends = torch.tensor(lengths).cumsum(0).tolist()
    own = [torch.arange(end - max(1, int(n * wanted)), end) for n, end in zip(lengths, ends, strict=True)]
    return Pass(token_ids, tuple(lengths), torch.cat(own))


def measure(
    backbone: Backbone, shape: Shape, one: Pass, *, peak: float, bandwidth: float, repeats: int
) -> dict[str, Value]:
    """One line of the table."""
    body = repeated(backbone.device, lambda: backbone.states(one.token_ids, one.lengths, one.wanted), repeats)
    whole = repeated(backbone.device, lambda: bare_pass(backbone, one), repeats)
    num_wanted = len(one.wanted)
    starts = torch.tensor([0, *one.lengths]).cumsum(0)
    wanted = torch.searchsorted(one.wanted, starts).diff().tolist()
    flops = pass_flops(shape, one.lengths, num_wanted)
    moved = pass_bytes(shape, one.lengths, num_wanted, backbone.dtype.itemsize)
    return {
        "tokens T": sum(one.lengths),
        "canvases B": len(one.lengths),
        "wanted rows": num_wanted,
        "ms": whole.scaled(1e3),
        "of it states, ms": body.scaled(1e3),
        "GFLOP": flops / 1e9,
        "of it needed for logits, %": 100 * (1 - spared_flops(shape, one.lengths, wanted) / flops),
        "MB": moved / 1e6,
        "TFLOP/s": whole.per(flops / 1e12),
        "% of matmul peak": 100 * flops / peak / whole.median,
        "FLOP limit, ms": 1e3 * flops / peak,
        "bytes at a copy's rate, ms": 1e3 * moved / bandwidth,
        "time over FLOP limit": whole.median * peak / flops,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every number of tokens and write the report."""
    made = parser(__doc__)
    made.add_argument("--tokens", type=int, nargs="+", default=[208, 400, 1300, 14336], help="T of each pass")
    made.add_argument("--canvas", type=int, default=400, help="tokens of a canvas, about (%(default)s)")
    made.add_argument("--wanted", type=float, default=0.1, help="share of the tokens whose logits are computed")
    made.add_argument("--repeats", type=int, default=20)
    options = parsed(made, argv)
    peak = matmul_peak(options.device, options.dtype)
    bandwidth = copy_bandwidth(options.device)
    backbone = random_backbone(options.shape, str(options.device), options.dtype)
    rows = []
    for num_tokens in options.tokens:
        one = random_pass(backbone, canvases(num_tokens, options.canvas), options.wanted)
        limits = {"peak": peak.median, "bandwidth": bandwidth.median}
        rows.append(measure(backbone, options.shape, one, **limits, repeats=options.repeats))
    facts: dict[str, Value] = {
        "shape": f"{options.shape_name} {options.shape}",
        "dtype": str(options.dtype),
        "matmul peak, TFLOP/s": peak.scaled(1e-12),
        "copy bandwidth, GB/s": bandwidth.scaled(1e-9),
    }
    line = command("kernel", argv)
    Report(name="kernel", command=line, rows=rows, device=options.device, facts=facts).write(options.out)


if __name__ == "__main__":
    start(main)
