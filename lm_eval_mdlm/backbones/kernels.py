"""The element-wise parts of a transformer layer as GPU kernels, each one pass over its data.

Every program works on one token with a fixed number of threads, so that a token's bits depend neither on the number of
tokens in the pass nor on its place among them. Values are rounded to the network's dtype wherever transformers' own
layers round them.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor


EXACT = {"enable_fp_fusion": False}
"""Fusing a product and a sum would skip the rounding between them."""


@triton.jit
def _add_and_norm(hidden, delta, weight, normed, width, eps, ADD: tl.constexpr, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(hidden + start + columns, mask=inside, other=0.0)
    if ADD:
        x = (x.to(tl.float32) + tl.load(delta + start + columns, mask=inside, other=0.0).to(tl.float32)).to(x.dtype)
        tl.store(hidden + start + columns, x, mask=inside)
    wide = x.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, axis=0) / width + eps)
    scaled = (wide * scale).to(x.dtype).to(tl.float32)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + start + columns, (w * scaled).to(x.dtype), mask=inside)


@triton.jit
def _rotate(
    qkv, positions, cos, sin, row_width, num_heads, HALF: tl.constexpr, HEADS: tl.constexpr, ROUND: tl.constexpr
):
    token = tl.program_id(0).to(tl.int64)
    position = tl.load(positions + token)
    pairs = tl.arange(0, HALF)
    angle = position * (2 * HALF) + pairs
    cos_1, cos_2 = tl.load(cos + angle).to(tl.float32), tl.load(cos + angle + HALF).to(tl.float32)
    sin_1, sin_2 = tl.load(sin + angle).to(tl.float32), tl.load(sin + angle + HALF).to(tl.float32)
    heads = tl.arange(0, HEADS)
    inside = (heads < num_heads)[:, None]
    place = qkv + token * row_width + heads[:, None] * (2 * HALF) + pairs[None, :]
    first, second = tl.load(place, mask=inside, other=0.0), tl.load(place + HALF, mask=inside, other=0.0)
    x, y = first.to(tl.float32), second.to(tl.float32)
    a, b = x * cos_1[None, :], y * sin_1[None, :]
    c, d = y * cos_2[None, :], x * sin_2[None, :]
    if ROUND:  # a table in the network's dtype: products are rounded before they are added
        a, b = a.to(first.dtype).to(tl.float32), b.to(first.dtype).to(tl.float32)
        c, d = c.to(first.dtype).to(tl.float32), d.to(first.dtype).to(tl.float32)
    tl.store(place, (a - b).to(first.dtype), mask=inside)
    tl.store(place + HALF, (c + d).to(first.dtype), mask=inside)


@triton.jit
def _gated_silu(gate_up, out, width, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    gate = tl.load(gate_up + token * 2 * width + columns, mask=inside, other=0.0)
    up = tl.load(gate_up + token * 2 * width + width + columns, mask=inside, other=0.0)
    wide = gate.to(tl.float32)
    activated = (wide / (1.0 + tl.exp(-wide))).to(gate.dtype).to(tl.float32)
    tl.store(out + token * width + columns, (activated * up.to(tl.float32)).to(gate.dtype), mask=inside)


def add_and_norm(
    hidden: Float[Tensor, "T D"], delta: Float[Tensor, "T D"] | None, weight: Float[Tensor, " D"], eps: float
) -> Float[Tensor, "T D"]:
    """Add `delta` to `hidden` in place, and return its root-mean-square norm, scaled by `weight`."""
    normed = torch.empty_like(hidden)
    num_tokens, width = hidden.shape
    block = triton.next_power_of_2(width)
    _add_and_norm[(num_tokens,)](
        *(hidden, hidden if delta is None else delta, weight, normed, width, eps),
        **{"ADD": delta is not None, "BLOCK": block, "num_warps": 8, **EXACT},
    )
    return normed


def rotate(
    qkv: Float[Tensor, "T W"],
    position_ids: Int[Tensor, " T"],
    table: tuple[Float[Tensor, "P D"], Float[Tensor, "P D"]],
    num_heads: int,
) -> None:
    """Rotate the first `num_heads` heads of every token in place; `table` has cosines and sines by position."""
    cos, sin = table
    num_tokens, width = qkv.shape
    _rotate[(num_tokens,)](
        *(qkv, position_ids, cos, sin, width, num_heads),
        **{"HALF": cos.shape[1] // 2, "HEADS": triton.next_power_of_2(num_heads)},
        **{"ROUND": cos.dtype != torch.float32, "num_warps": 8, **EXACT},
    )


def gated_silu(gate_up: Float[Tensor, "T two_F"]) -> Float[Tensor, "T F"]:
    """`silu(gate) * up`, where `gate_up` holds both side by side."""
    num_tokens, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(num_tokens, width)
    _gated_silu[(num_tokens, triton.cdiv(width, 2048))](gate_up, out, width, BLOCK=2048, num_warps=4, **EXACT)
    return out
