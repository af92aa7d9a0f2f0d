"""What the approximate caches cost and save: accuracy, passes and time of the packaged model on its word problems.

    python -m benchmarks.caches --limit 200 --threads 1

Times are those of a small network on this machine, where a pass over few tokens costs nearly as much as a long one;
`benchmarks.engine --cases cache` has them for a large network on a GPU.
"""

import time
from collections.abc import Sequence

from benchmarks.options import command, parsed, parser, start
from benchmarks.report import Report, Value
from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.demo import read_problems
from lm_eval_mdlm.demo.ways import MED_ALONE, SINGLE, Way, decode_all


DECODINGS: dict[str, Way] = {"k = 1": SINGLE, "MED": MED_ALONE}
BLOCK_LENGTH = 13


def main(argv: Sequence[str] | None = None) -> None:
    """Decode the same problems exactly and with each cache."""
    made = parser(__doc__, with_shape=False)
    made.add_argument("--limit", type=int, default=100, help="word problems, at most those in the package")
    made.add_argument("--device", default="cpu")
    options = parsed(made, argv)
    backbone = load_backbone("demo", device=str(options.device))
    problems = read_problems(options.limit)
    rows: list[dict[str, Value]] = []
    for name, decoding in DECODINGS.items():
        for cache in ("none", "prefix", "dual"):
            started = time.perf_counter()
            outcome = decode_all(backbone, problems, decoding, block_length=BLOCK_LENGTH, cache=cache)
            line: dict[str, Value] = {"decoding": name, "cache": cache, "accuracy, %": 100 * outcome.accuracy}
            line |= {"standard error": 100 * outcome.standard_error, "NFE": outcome.nfe}
            line |= {"of them partial": outcome.nfe_partial, "seconds": time.perf_counter() - started}
            rows.append(line)
            print(f"cache {cache:<7}{outcome}", flush=True)
    facts: dict[str, Value] = {"problems": len(problems), "block length": BLOCK_LENGTH}
    line_typed = command("caches", argv)
    Report(name="caches", command=line_typed, rows=rows, device=options.device, facts=facts).write(options.out)


if __name__ == "__main__":
    start(main)
