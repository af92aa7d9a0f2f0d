"""Decoding from end to end at a known number of forward passes, against the same passes run bare.

    python -m benchmarks.engine --cases alone short batch spread
    python -m benchmarks.engine --cases cache --cache dual --shape llada-8b

alone    one row, prompt 144 and a region of 256 masks, one token a pass
short    the same with a region of 64
batch    B rows at a time, prompts of 80 to 300 tokens
spread   rows that need 1, 2, 3 or 4 times as many passes, against rows of equal need at the same total NFE
cache    `batch` at one token a pass, exact and with the caches named by --cache
sampled  `batch` at temperature 0 and 0.7
samplers samplers that commit one token a pass here, since a random network is sure of nothing: one row, and `batch`

In all but `alone` and `short` only the last `--masks` tokens of the region are masked, so that large networks end soon;
the rest is prompt, and a pass costs what it costs at the full region. `spread` fills them as one block, the others in
blocks of `--block-length`. TFLOP/s counts the operations of all layers at all tokens (`benchmarks.flops`), also those
of the last layer that fused layers leave out because no logits need them. `outside` is what a run takes beyond the same
passes run bare (`benchmarks.replay`).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.networks import Shape, random_backbone
from benchmarks.official import PlainModel, beside, official_generate
from benchmarks.options import command, parsed, parser, start
from benchmarks.replay import random_prompts, recorded, replay, spread_lengths
from benchmarks.report import Measurement, Report, Value
from benchmarks.schedule import decode_flops, decode_spared, wanted_by_k, wanted_by_steps
from benchmarks.timing import matmul_peak, seconds
from lm_eval_mdlm import generate
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.planning import plan_row


ONE_A_PASS = ("med", "confidence_threshold", "local_leap", "klass", "credit", "dream")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run whose passes are known beforehand."""

    name: str
    decode: Callable[[], list[int]]
    """Runs it; the NFE of each row."""
    canvases: Sequence[int]
    """Tokens of each row."""
    wanted: Sequence[Sequence[int]]
    """Of each row, the rows of logits that each of its passes needs."""
    partial: bool = False
    """Whether passes compute only part of a canvas, so that operations are not known here."""

    @property
    def nfe(self) -> int:
        """Of all rows together."""
        return sum(map(len, self.wanted))

    def flops(self, shape: Shape) -> int:
        """Operations of the whole run, all layers at all tokens."""
        return sum(decode_flops(shape, n, wanted) for n, wanted in zip(self.canvases, self.wanted, strict=True))

    def spared(self, shape: Shape) -> int:
        """Of them, those that no logits need, which fused layers leave out."""
        return sum(decode_spared(shape, n, wanted) for n, wanted in zip(self.canvases, self.wanted, strict=True))

    def run(self) -> None:
        """Decode, and make sure that it took the passes it must take."""
        took, must = self.decode(), [len(wanted) for wanted in self.wanted]
        if took != must:
            raise RuntimeError(f"{self.name}: rows must need {must} passes and took {took}.")


def even_case(
    backbone: Backbone,
    name: str,
    prompts: Sequence[Sequence[int]],
    *,
    batch: int,
    num_masks: int,
    block_length: int,
    k: int,
    **more: Any,
) -> Case:
    """`generate` with `fixed_k`."""
    options: dict[str, Any] = {"sampler": "fixed_k", "k": k, "gen_length": num_masks, "block_length": block_length}

    def run() -> list[int]:
        return [row.nfe for row in generate(backbone, prompts, batch_size=batch, **options, **more)]

    canvases = [len(prompt) + num_masks for prompt in prompts]
    wanted = [wanted_by_k(num_masks, block_length, k)] * len(prompts)
    return Case(name=name, decode=run, canvases=canvases, wanted=wanted, partial="cache" in more)


def sampler_cases(
    backbone: Backbone, prompts: Sequence[Sequence[int]], *, batch: int, num_masks: int, block_length: int
) -> list[Case]:
    """The same work by every sampler of `ONE_A_PASS`, the first of which is what the others are compared with."""
    cases = []
    for sampler in ONE_A_PASS:
        blocks = {} if sampler == "dream" else {"block_length": block_length}
        options = {"sampler": sampler, "gen_length": num_masks, **blocks}

        def run(options: dict[str, Any] = options) -> list[int]:
            return [row.nfe for row in generate(backbone, prompts, batch_size=batch, **options)]

        cases.append(
            Case(
                name=f"{sampler}: B = {batch}",
                decode=run,
                canvases=[len(prompt) + num_masks for prompt in prompts],
                wanted=[wanted_by_k(num_masks, block_length, 1)] * len(prompts),
            )
        )
    return cases


def stepped_case(
    backbone: Backbone, name: str, prompts: Sequence[Sequence[int]], *, batch: int, num_masks: int, steps: Sequence[int]
) -> Case:
    """One run of `decode` over rows with a number of passes each."""
    fixed = {"sampler": "fixed_k", "gen_length": num_masks, "block_length": num_masks}
    configs = [DecodingConfig.from_options({**fixed, "steps": own}) for own in steps]
    plans = [plan_row(backbone, prompt, config) for prompt, config in zip(prompts, configs, strict=True)]

    def run() -> list[int]:
        done = dict(decode(Readout(backbone), enumerate(plans), Budget(max_rows=batch)))
        return [done[i].generation(record_steps=False).nfe for i in range(len(plans))]

    canvases = [len(prompt) + num_masks for prompt in prompts]
    return Case(name=name, decode=run, canvases=canvases, wanted=[wanted_by_steps(num_masks, own) for own in steps])


def measure(backbone: Backbone, shape: Shape, case: Case, *, peak: float, repeats: int) -> dict[str, Value]:
    """One line of the table: runs and bare replays turn by turn."""
    with recorded(backbone) as passes:
        case.run()
    covered = sum(len(one.lengths) for one in passes)
    if covered != case.nfe:
        raise RuntimeError(f"{case.name}: {case.nfe} canvases went through the network and {covered} were seen.")
    again = partial(replay, backbone, passes)
    again()
    pairs = [(seconds(backbone.device, case.run), seconds(backbone.device, again)) for _ in range(repeats)]
    whole, bare = (Measurement(side) for side in zip(*pairs, strict=True))
    flops = case.flops(shape)
    ratio = whole.over(bare)
    return {
        "case": case.name,
        "rows": len(case.canvases),
        "NFE": case.nfe,
        "tokens per pass": sum(sum(one.lengths) for one in passes) / len(passes),
        "ms per NFE": whole.scaled(1e3 / case.nfe),
        "NFE per s": whole.per(case.nfe),
        "TFLOP/s": whole.per(flops / 1e12),
        "% of matmul peak": 100 * flops / peak / whole.median,
        "% of FLOP that logits need": 100 * (1 - case.spared(shape) / flops),
        "bare, ms per NFE": bare.scaled(1e3 / case.nfe),
        "over bare": ratio,
        "outside, s": Measurement(tuple(a - b for a, b in pairs)),
        "outside, %": Measurement(tuple(100 * (1 - 1 / value) for value in ratio.values)),
    }


def side_by_side(device: torch.device, shape: Shape, cases: Sequence[Case], *, repeats: int) -> list[dict[str, Value]]:
    """One line per case and its throughput over that of the first; turn by turn, so that a drift meets all."""
    for case in cases:
        case.run()
    turns = [[seconds(device, case.run) for case in cases] for _ in range(repeats)]
    times = [Measurement(own) for own in zip(*turns, strict=True)]
    per_nfe = [time.scaled(1e3 / case.nfe) for case, time in zip(cases, times, strict=True)]
    return [
        {
            "case": case.name,
            "rows": len(case.canvases),
            "NFE": case.nfe,
            "ms per NFE": own,
            "NFE per s": time.per(case.nfe),
            "TFLOP/s": None if case.partial else time.per(case.flops(shape) / 1e12),
            "times throughput of the first": per_nfe[0].over(own),
        }
        for case, time, own in zip(cases, times, per_nfe, strict=True)
    ]


def lines(options: argparse.Namespace, backbone: Backbone, peak: float) -> list[dict[str, Value]]:
    """All lines of the table that were asked for."""
    rows: list[dict[str, Value]] = []
    block = options.block_length
    add = partial(measure, backbone, options.shape, peak=peak, repeats=options.repeats)
    alone = partial(even_case, backbone, batch=1, block_length=block, k=1)
    (prompt,) = random_prompts([options.prompt], backbone.vocab_size)
    for case, masks in (("alone", options.region), ("short", max(1, options.region // 4))):
        if case in options.cases:
            rows.append(add(alone(f"{case}: {options.prompt} + {masks}", [prompt], num_masks=masks)))
    batch, masks = options.batch, min(options.masks, options.region)
    lengths = [n + options.region - masks for n in spread_lengths(options.prompts, batch)]
    prompts = random_prompts(lengths, backbone.vocab_size)
    blocks = partial(even_case, backbone, batch=batch, num_masks=masks, block_length=min(block, masks))
    together = partial(blocks, prompts=prompts)
    if "batch" in options.cases:
        rows.append(add(together(f"batch: B = {batch}", k=-(-masks // options.passes))))
    if "spread" in options.cases:
        base = 2 * max(1, options.passes // 5)
        several = [prompt for prompt in prompts for _ in range(4)][: options.waves * batch]
        spread = [base * (1 + i % 4) for i in range(len(several))]
        even = [sum(spread) // len(spread)] * len(several)
        named = {f"equal NFE: B = {batch}": even, f"NFE spread 4x: B = {batch}": spread}
        stepped = partial(stepped_case, backbone, prompts=several, batch=batch, num_masks=masks)
        cases = [stepped(name, steps=steps) for name, steps in named.items()]
        rows += side_by_side(backbone.device, options.shape, cases, repeats=options.repeats)
    if "cache" in options.cases:
        cases = [together(f"exact: B = {batch}", k=1)]
        cases += [together(f"{name} cache: B = {batch}", k=1, cache=name) for name in options.cache]
        rows += side_by_side(backbone.device, options.shape, cases, repeats=options.repeats)
    if "sampled" in options.cases:
        k = -(-masks // options.passes)
        cases = [together(f"temperature {t}: B = {batch}", k=k, temperature=t) for t in (0.0, 0.7)]
        rows += side_by_side(backbone.device, options.shape, cases, repeats=options.repeats)
    if "samplers" in options.cases:
        for number in sorted({1, batch}):
            several = sampler_cases(
                backbone, prompts[:number], batch=number, num_masks=masks, block_length=min(block, masks)
            )
            rows += side_by_side(backbone.device, options.shape, several, repeats=options.repeats)
    if options.official:
        model = PlainModel(options.shape, options.device, options.dtype)
        # Transformers' own network rotates in the dtype of the weights, so that ours must do so beside it.
        own = random_backbone(options.shape, str(options.device), options.dtype, float32_rope=False)
        run = partial(beside, options.official, model, own, prompt, repeats=options.repeats)
        rows += [
            run(num_masks=masks, block_length=min(block, masks)) for masks in (options.region // 4, options.region)
        ]
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the cases and write the report."""
    made = parser(__doc__)
    known = ("alone", "short", "batch", "spread", "cache", "sampled", "samplers")
    made.add_argument("--cases", nargs="*", choices=known, default=known[:4])
    made.add_argument("--region", type=int, default=256, help="tokens of a region; `short` has a quarter")
    made.add_argument("--prompt", type=int, default=144, help="tokens of the prompt of a row alone")
    made.add_argument("--prompts", type=int, nargs=2, default=[80, 300], help="shortest and longest in a batch")
    made.add_argument("--block-length", type=int, default=32)
    made.add_argument("--batch", type=int, default=32, help="B, rows at a time")
    made.add_argument("--masks", type=int, default=32, help="masked tokens of a row in a batch")
    made.add_argument("--passes", type=int, default=5, help="of each row in `batch`, about; `spread` has 2/5 to 8/5")
    made.add_argument("--waves", type=int, default=2, help="rows in `spread`, in multiples of B; at most 4")
    made.add_argument("--cache", nargs="+", default=["dual"], help="caches of the case `cache`")
    made.add_argument("--official", type=Path, metavar="DIR", help="the LLaDA repository: runs its loop too")
    made.add_argument("--repeats", type=int, default=3)
    options = parsed(made, argv)
    if options.official:
        options.official = official_generate(options.official)
    peak = matmul_peak(options.device, options.dtype)
    with torch.inference_mode():
        backbone = random_backbone(options.shape, str(options.device), options.dtype)
        rows = lines(options, backbone, peak.median)
    facts: dict[str, Value] = {
        "shape": f"{options.shape_name} {options.shape}",
        "dtype": str(options.dtype),
        "matmul peak, TFLOP/s": peak.scaled(1e-12),
    }
    line = command("engine", argv)
    Report(name="engine", command=line, rows=rows, device=options.device, facts=facts).write(options.out)


if __name__ == "__main__":
    start(main)
