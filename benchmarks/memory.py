"""Peak memory of decoding beyond the weights, beside what logits at every position would take.

    python -m benchmarks.memory --shape llada-head --batch 1 8 32 --length 400

One pass wants every position of the region, which is the most that a pass can want. On a GPU, `in use` is what tensors
held at the peak and `reserved` what the allocator took from the device, recorded passes and fragments included; both
less what there was once the weights were loaded. On a CPU, `in use` is the resident set's high-water mark (Linux)
over what was resident before, after one run that lets libraries allocate what they keep.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.networks import random_backbone
from benchmarks.options import command, parsed, parser, start
from benchmarks.replay import random_prompts
from benchmarks.report import Report, Value
from lm_eval_mdlm import generate


STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """A field of this process's memory status, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def resident_peak(action: Callable[[], object]) -> int:
    """Bytes by which one call raised the resident set at most."""
    action()
    CLEAR_REFS.write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    action()
    return resident("VmHWM") - before


def device_peak(device: torch.device, action: Callable[[], object], before: tuple[int, int]) -> tuple[int, int]:
    """Bytes in use and reserved at the peak of a first and a second call, less those of `before`."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    action()
    action()
    torch.cuda.synchronize(device)
    return (
        torch.cuda.max_memory_allocated(device) - before[0],
        torch.cuda.max_memory_reserved(device) - before[1],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every number of rows and write the report."""
    made = parser(__doc__)
    made.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], help="B, rows of the pass")
    made.add_argument("--length", type=int, default=400, help="L, tokens of prompt and region")
    made.add_argument("--gen-length", type=int, default=256, help="masks of the region")
    options = parsed(made, argv)
    backbone = random_backbone(options.shape, str(options.device), options.dtype)
    masks, on_gpu = options.gen_length, options.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        before = (torch.cuda.memory_allocated(options.device), torch.cuda.memory_reserved(options.device))
    rows = []
    for batch in options.batch:
        prompts = random_prompts([options.length - masks] * batch, backbone.vocab_size)

        def decode_once(prompts: list[list[int]] = prompts, batch: int = batch) -> None:
            generate(backbone, prompts, batch_size=batch, k=masks, gen_length=masks, block_length=masks)

        used, reserved = (
            device_peak(options.device, decode_once, before) if on_gpu else (resident_peak(decode_once), None)
        )
        line: dict[str, Value] = {"B": batch, "L": options.length, "wanted rows": batch * masks}
        line |= {"in use, MiB": used / 2**20, "reserved, MiB": None if reserved is None else reserved / 2**20}
        everywhere = batch * options.length * backbone.vocab_size * 4
        rows.append(line | {"float32 logits everywhere, MiB": everywhere / 2**20})
    facts: dict[str, Value] = {"shape": f"{options.shape_name} {options.shape}", "dtype": str(options.dtype)}
    if on_gpu:
        facts["weights, MiB"] = before[0] / 2**20
    Report(name="memory", command=command("memory", argv), rows=rows, device=options.device, facts=facts).write(
        options.out
    )


if __name__ == "__main__":
    start(main)
