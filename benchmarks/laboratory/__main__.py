"""Every sampler's own error against its passes: total variation and divergence of its texts, on exact networks.

    python -m benchmarks.laboratory --threads 1 --processes 2

The network is replaced by the exact posteriors of a known joint: a Markov chain, and a chain with a noisy copy of
itself half a text away. Short texts are listed, so that distances are exact (`law of`: texts) and drawn texts stand
beside them with what exact draws give; of long ones they are estimated, with standard errors. Where a sampler draws
its order itself, distances are means over orders, which bound those of its texts from above (`law of`: paths). Where
its positions depend on drawn tokens, only samples tell (`law of`: samples). A step whose error is above its bound
ends the script with an error.
"""

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.laboratory.figure import draw
from benchmarks.laboratory.measures import Line, Sizes, number
from benchmarks.laboratory.settings import GRIDS
from benchmarks.laboratory.sharing import all_measured, benches
from benchmarks.options import command, parsed, parser, start
from benchmarks.report import Report
from lm_eval_mdlm.traces.plot import can_plot


SHARES = (0.25, 0.5, 0.75)
"""Of one pass a token, at which samplers are compared."""


def at_equal_passes(lines: Sequence[Line], length: int) -> list[Line]:
    """For each sampler the divergence at equal shares of one pass a token, between its two nearest settings.

    Of samplers known by samples alone, nothing. Outside a sampler's settings, nothing either.
    """
    found: list[Line] = []
    for sampler in dict.fromkeys(line["sampler"] for line in lines):
        told = [line for line in lines if line["sampler"] == sampler and "KL" in line]
        own = [(number(line, "NFE"), number(line, "KL")) for line in told]
        entry: Line = {"joint": lines[0]["joint"], "sampler": sampler}
        for share in SHARES:
            entry[f"KL at NFE = {share:g} L"] = _between(sorted(own), share * length)
        found.append(entry)
    return found


def _between(points: Sequence[tuple[float, float]], nfe: float) -> float | None:
    """Linear between the settings; the better one where two take the same passes."""
    best: dict[float, float] = {}
    for at, value in points:
        best[at] = min(value, best.get(at, value))
    if not best or not min(best) <= nfe <= max(best):
        return None
    return float(np.interp(nfe, list(best), list(best.values())))


def main(argv: Sequence[str] | None = None) -> None:
    made = parser(__doc__, with_shape=False)
    made.add_argument("--samplers", nargs="+", choices=GRIDS, default=list(GRIDS), help="all of them if left out")
    made.add_argument("--length", type=int, default=8, help="of short texts, of 3 symbols (%(default)s)")
    made.add_argument("--long-length", type=int, default=32, help="of long texts, of 5 symbols (%(default)s)")
    made.add_argument("--samples", type=int, default=1000, help="of each setting, short texts (%(default)s)")
    made.add_argument("--long-samples", type=int, default=200, help="of each setting, long texts (%(default)s)")
    made.add_argument("--orders", type=int, default=5, help="of samplers that draw their own (%(default)s)")
    made.add_argument("--seed", type=int, default=4, help="of the joints (%(default)s)")
    made.add_argument("--processes", type=int, default=1, help="that share samplers and joints (%(default)s)")
    options = parsed(made, argv)
    sizes = Sizes(samples=options.samples, long_texts=options.long_samples, keys=options.orders)
    started, lines, compared = time.monotonic(), list[Line](), list[Line]()
    of = list(benches(options.seed, options.length, options.long_length, sizes))
    for bench, own in zip(
        of, all_measured(of, options.samplers, sizes, threads=options.threads, processes=options.processes), strict=True
    ):
        lines, compared = lines + own, compared + at_equal_passes(own, bench.joint.length)
    told = {"seconds": round(time.monotonic() - started), "samples": sizes.samples, "long samples": sizes.long_texts}
    typed = command("laboratory", argv)
    Report(name="laboratory", command=typed, rows=lines, device=options.device, facts=told).write(options.out)
    Report(name="laboratory_at_equal_nfe", command=typed, rows=compared, device=options.device).write(options.out)
    if can_plot():
        draw(lines, options.out / "laboratory.png")
    else:
        print("no laboratory.png, because matplotlib is not installed: the package's extra `report` brings it")


if __name__ == "__main__":
    start(main)
