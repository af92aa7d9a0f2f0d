"""Peak extra memory of a decoding step, measured, beside what logits at every position would take.

    python -m benchmarks.memory --shape llada-head --rows 1 8 32 --length 400

Extra memory is the peak during one step less what was allocated before it. On a GPU it is read from the allocator; on
a CPU from the resident set's high-water mark (Linux), which also counts whatever the libraries keep.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from benchmarks.networks import SHAPES, random_backbone
from lm_eval_mdlm.config import DecodingConfig
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.row import Row
from lm_eval_mdlm.engine.step import step
from lm_eval_mdlm.planning import plan_row


STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """A field of this process's memory status, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def extra_bytes(readout: Readout, rows: list[Row], device: str) -> int:
    """Peak of one step over what was there before it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(readout, rows)
        return torch.cuda.max_memory_allocated() - before
    CLEAR_REFS.write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    step(readout, rows)
    return resident("VmHWM") - before


def main() -> None:
    """Print one line of JSON per number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llada-head")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32], help="B: rows in the step")
    parser.add_argument("--length", type=int, default=400, help="L: tokens of prompt and region")
    parser.add_argument("--gen-length", type=int, default=256)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    dtype = torch.bfloat16 if options.device.startswith("cuda") else torch.float32
    backbone = random_backbone(SHAPES[options.shape], options.device, dtype)
    readout = Readout(backbone)
    config = DecodingConfig.from_options({"gen_length": options.gen_length, "block_length": options.gen_length})
    prompt = list(range(options.length - options.gen_length))
    for number in options.rows:
        rows = [Row(plan_row(backbone, prompt, config)) for _ in range(number)]
        step(readout, rows)  # libraries allocate their own buffers in the first step
        everywhere = number * options.length * backbone.vocab_size * 4
        figures = {
            "shape": options.shape,
            "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
            "rows": number,
            "length": options.length,
            "rows_of_logits": number * (options.gen_length - 1),
            "extra_MiB": round(extra_bytes(readout, rows, options.device) / 2**20, 1),
            "vocabulary_budget_MiB": readout.max_bytes / 2**20,
            "float32_logits_everywhere_MiB": round(everywhere / 2**20, 1),
            "torch": torch.__version__,
        }
        json.dump(figures, sys.stdout)
        print()


if __name__ == "__main__":
    main()
