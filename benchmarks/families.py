"""Passes of the families with experts, grid blocks and head norms, beside transformers' own and the limit.

    python -m benchmarks.families --shape llada2-mini
    python -m benchmarks.families --shape sdar-8b --block 4
    python -m benchmarks.families --shape llada-moe --kinds whole

whole    all tokens of B canvases of prompt and region, logits of the last block
block    the last block of each alone, over keys and values of all before it
decode   the region block by block, some passes a block: the exact prefix cache against passes over all tokens so far

`decode` decides nothing: it runs the passes that decoding needs. With the cache, a block's first pass holds the block
before it once more, clean, as its keys and values are kept; without it, later blocks are left out of the pass, as no
token sees them. Both need a shape with a grid. Transformers runs the same weights with SDPA under a four-dimensional
mask, with each way to run experts that is named, from a cache of its own in `block`; its layers and ours share one
memory. The limit is the larger of two times: operations (`benchmarks.flops`) at the rate of a large matrix product, and
bytes that must be read, of experts those that were chosen, at `--bandwidth`.
"""

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from benchmarks.flops import block_bytes, expert_parameters, pass_flops
from benchmarks.networks import backbone_of, random_network
from benchmarks.options import command, parsed, parser, start
from benchmarks.report import Measurement, Report, Value
from benchmarks.shapes import Shape
from benchmarks.timing import matmul_peak, repeated, seconds
from lm_eval_mdlm.backbones.backbone import CanvasPart
from lm_eval_mdlm.backbones.packed import PackedBackbone
from lm_eval_mdlm.errors import UsageError


KINDS = ("whole", "block", "decode")
MOST_GATHERED = 8 * 2**30
"""Bytes of weights that transformers' batched products may copy; they copy an expert's for each token that chose it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvases:
    """Random canvases of one length."""

    backbone: PackedBackbone
    tokens: Tensor
    """(rows, length), on the host."""
    block: int

    @classmethod
    def of(cls, backbone: PackedBackbone, rows: int, length: int, block: int) -> "Canvases":
        draw = torch.Generator().manual_seed(rows)
        tokens = torch.randint(backbone.vocab_size - 2, (rows, length), generator=draw)
        return cls(backbone=backbone, tokens=tokens, block=block)

    def whole(self, end: int | None = None) -> Tensor:
        """One pass over all tokens before `end`, and the logits of the last block."""
        tokens = self.tokens[:, :end]
        rows, length = tokens.shape
        wanted = (torch.arange(rows)[:, None] * length + torch.arange(length - self.block, length)).flatten()
        return self.backbone.head(self.backbone.states(tokens.flatten(), [length] * rows, wanted))

    def part(self, slots: Sequence[Any], first: int, end: int) -> Tensor:
        """One pass over tokens from `first` on, and the logits of the last block."""
        positions = torch.arange(first, end)
        wanted = torch.arange(end - first - min(self.block, end - first), end - first)
        return self.backbone.head(
            self.backbone.partial_states(
                [
                    CanvasPart(token_ids=row[first:end], positions=positions, wanted=wanted, slot=slot)
                    for row, slot in zip(self.tokens, slots, strict=True)
                ]
            )
        )


def decode(canvases: Canvases, prompt: int, steps: int, *, is_cached: bool) -> None:
    """The passes of a region in blocks, so many a block."""
    (rows, length), block = canvases.tokens.shape, canvases.block
    slots = [canvases.backbone.reserve(length) for _ in range(rows)] if is_cached else []
    for end in range(prompt + block, length + 1, block):
        for step in range(steps):
            if not is_cached:
                canvases.whole(end)
            elif end == prompt + block and step == 0:
                canvases.part(slots, 0, end)
            else:
                canvases.part(slots, end - block - (block if step == 0 else 0), end)


@contextmanager
def transformers_own(network: Any, experts: str) -> Iterator[None]:
    """The network as transformers runs it."""
    config = network.config
    before = config._attn_implementation, config._experts_implementation
    config._attn_implementation, config._experts_implementation = "sdpa", experts
    try:
        yield
    finally:
        config._attn_implementation, config._experts_implementation = before


def masked(length: int, grid_block: int | None, device: torch.device) -> Tensor:
    """Who sees whom, for all canvases."""
    block = torch.arange(length, device=device) // (grid_block or length)
    return (block[:, None] >= block[None, :])[None, None]


def their_passes(network: Any, shape: Shape, canvases: Canvases, *, is_cached: bool) -> Callable[[], Tensor]:
    """Transformers' pass over all tokens, or over the last block behind a cache of all others."""
    device = canvases.backbone.device
    tokens, block = canvases.tokens.to(device), canvases.block
    mask = masked(tokens.shape[1], shape.grid_block, device).expand(len(tokens), 1, -1, -1)
    if not is_cached:
        return lambda: network(tokens, attention_mask=mask, logits_to_keep=block, use_cache=False).logits
    known = tokens.shape[1] - block
    cache = DynamicCache()
    # Its name since transformers 5.24; the older one warns there.
    name = "cache" if "cache" in inspect.signature(network.forward).parameters else "past_key_values"
    given = {name: cache, "use_cache": True}
    network(tokens[:, :known], attention_mask=mask[..., :known, :known], **given)

    def run() -> Tensor:
        logits: Tensor = network(tokens[:, known:], attention_mask=mask[..., known:, :], **given).logits
        cache.crop(-block)
        return logits

    return run


@contextmanager
def counted_experts(backbone: PackedBackbone) -> Iterator[list[int]]:
    """How many experts are chosen by any token, in each layer with experts of passes that run meanwhile."""
    found: list[int] = []
    hooks = []
    body = getattr(backbone._body, "_layers", backbone._body)
    layers = body.layers if hasattr(body, "layers") else body._body.layers
    for layer in layers:
        experts = getattr(layer.mlp, "experts", None)
        router = getattr(experts, "selection", getattr(layer.mlp, "gate", None))
        if router is not None:
            hooks.append(router.register_forward_hook(lambda _, __, out: found.append(len(out[2].unique()))))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def chosen_experts(canvases: Canvases, run: Callable[[], object]) -> list[int]:
    """Of each layer with experts, how many a pass chooses; found in a pass that is not recorded."""
    body = canvases.backbone._body
    resting = getattr(body, "_resting", None)
    if resting is not None:
        body._resting = 1
    with counted_experts(canvases.backbone) as found:
        run()
    if resting is not None:
        body._resting = resting
    return found


def measure(
    options: argparse.Namespace, network: Any, canvases: Canvases, kind: str, peak: float
) -> Iterator[dict[str, Value]]:
    """Ours and transformers' lines of one kind of pass at one number of rows."""
    shape, device, block = options.shape, canvases.backbone.device, canvases.block
    rows, length = canvases.tokens.shape
    slots: list[Any] = []
    run: Callable[[], Tensor] = canvases.whole
    known = 0
    if kind == "block":
        slots = [canvases.backbone.reserve(length) for _ in range(rows)]
        canvases.part(slots, 0, length)
        known = length - block
        run = partial(canvases.part, slots, known, length)
    flops = pass_flops(shape, [length] * rows, rows * block, known)
    moved = block_bytes(shape, chosen_experts(canvases, run), rows * known, options.dtype.itemsize)
    limit = max(flops / peak, moved / options.bandwidth / 1e12)
    tokens = rows * (length - known)
    ours = repeated(device, run, options.repeats)
    yield line(kind, "ours", rows, tokens, ours, limit) | {"GFLOP": flops / 1e9, "GB": moved / 1e9}
    logits = run().float()
    for experts in options.experts if shape.experts else ["none"]:
        if experts == "batched_mm" and tokens * gathered_bytes(shape, options.dtype) > MOST_GATHERED:
            continue
        with transformers_own(network, "eager" if experts == "none" else experts):
            theirs = their_passes(network, shape, canvases, is_cached=kind == "block")
            apart = (theirs()[:, -block:].flatten(0, 1).float() - logits).norm() / logits.norm()
            took = repeated(device, theirs, options.repeats)
        name = "transformers" if experts == "none" else f"transformers, {experts}"
        yield line(kind, name, rows, tokens, took, limit) | {
            "times ours": took.median / ours.median,
            "logits apart": float(apart),
        }


def gathered_bytes(shape: Shape, dtype: torch.dtype) -> int:
    """Weights that transformers' batched products copy for one token."""
    assert shape.experts is not None
    return shape.experts.chosen * expert_parameters(shape) * dtype.itemsize


def line(kind: str, name: str, rows: int, tokens: int, took: Measurement, limit: float) -> dict[str, Value]:
    """One line of the table."""
    return {
        "pass": kind,
        "by": name,
        "rows": rows,
        "tokens": tokens,
        "ms per pass": took.scaled(1e3),
        "ms per NFE": took.scaled(1e3 / rows),
        "limit, ms per pass": 1e3 * limit,
        "over the limit": took.median / limit,
    }


def gain(options: argparse.Namespace, canvases: Canvases) -> Iterator[dict[str, Value]]:
    """The prefix cache against none."""
    rows, length = canvases.tokens.shape
    passes = rows * options.steps * ((length - options.prompt) // canvases.block)
    base = None
    for name, is_cached in (("no cache", False), ("prefix cache", True)):
        run = partial(decode, canvases, options.prompt, options.steps, is_cached=is_cached)
        if is_cached:
            run()  # records what it needs
        took = Measurement(tuple(seconds(canvases.backbone.device, run) for _ in range(2 if is_cached else 1)))
        base = base or took.median
        found: dict[str, Value] = {"pass": f"decode, {options.steps} passes a block", "by": name, "rows": rows}
        yield found | {"ms per NFE": took.scaled(1e3 / passes), "times throughput of no cache": base / took.median}


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure every kind of pass and write the report."""
    made = parser(__doc__)
    made.add_argument("--kinds", nargs="+", choices=KINDS, help="all, if left out, that the shape has")
    made.add_argument("--rows", type=int, nargs="+", default=[1, 32])
    made.add_argument("--prompt", type=int, default=1024)
    made.add_argument("--region", type=int, default=512)
    made.add_argument("--block", type=int, default=32, help="tokens decoded together, a multiple of the grid's block")
    made.add_argument("--steps", type=int, default=4, help="passes of a block in `decode`")
    made.add_argument("--experts", nargs="+", default=["grouped_mm", "batched_mm"], help="ways of transformers'")
    made.add_argument("--bandwidth", type=float, default=4.3, help="of the device's memory, TB/s")
    made.add_argument("--repeats", type=int, default=10)
    options = parsed(made, argv)
    for name, size in (("--prompt", options.prompt), ("--region", options.region)):
        if size % options.block:
            raise UsageError(f"{name} must be a multiple of --block ({options.block}), is {size}; change either.")
    if options.block % (options.shape.grid_block or 1):
        grid = options.shape.grid_block
        raise UsageError(f"--block must be a multiple of the grid's {grid}, is {options.block}; give a multiple.")
    peak = matmul_peak(options.device, options.dtype)
    network = random_network(options.shape, str(options.device), options.dtype)
    # As transformers' own network rotates.
    backbone = backbone_of(network, options.shape, options.device, float32_rope=False)
    rows: list[dict[str, Value]] = []
    for number in options.rows:
        canvases = Canvases.of(backbone, number, options.prompt + options.region, options.block)
        for kind in options.kinds or (KINDS if options.shape.grid_block else KINDS[:1]):
            measured = partial(measure, options, network, canvases, kind, peak.median)
            lines = gain(options, canvases) if kind == "decode" else measured()
            for found in lines:
                print({name: str(value) for name, value in found.items()}, flush=True)  # a long run may be cut off
                rows.append(found)
    facts: dict[str, Value] = {
        "shape": f"{options.shape_name} {options.shape}",
        "dtype": str(options.dtype),
        "layers run by": str(backbone.description["body"]),
        "matmul peak, TFLOP/s": peak.scaled(1e-12),
    }
    Report(name="families", command=command("families", argv), rows=rows, device=options.device, facts=facts).write(
        options.out
    )


if __name__ == "__main__":
    start(main)
