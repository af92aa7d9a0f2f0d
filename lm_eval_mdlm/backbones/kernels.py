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
    qkv,
    positions,
    cos,
    sin,
    row_width,
    num_heads,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    HEADS: tl.constexpr,
    ROUND: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    position = tl.load(positions + token)
    pairs = tl.arange(0, HALF)
    angle = position * (2 * HALF) + pairs
    cos_1, cos_2 = tl.load(cos + angle).to(tl.float32), tl.load(cos + angle + HALF).to(tl.float32)
    sin_1, sin_2 = tl.load(sin + angle).to(tl.float32), tl.load(sin + angle + HALF).to(tl.float32)
    heads = tl.arange(0, HEADS)
    inside = (heads < num_heads)[:, None]
    place = qkv + token * row_width + heads[:, None] * WIDTH + pairs[None, :]
    first, second = tl.load(place, mask=inside, other=0.0), tl.load(place + HALF, mask=inside, other=0.0)
    x, y = _turned(first, second, cos_1[None, :], cos_2[None, :], sin_1[None, :], sin_2[None, :], ROUND)
    tl.store(place, x, mask=inside)
    tl.store(place + HALF, y, mask=inside)


@triton.jit
def _norm_and_rotate(
    qkv,
    positions,
    cos,
    sin,
    query_weight,
    key_weight,
    out,
    row_width,
    num_queries,
    num_heads,
    eps,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    HEADS: tl.constexpr,
    ROUND: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    position = tl.load(positions + token)
    pairs, heads = tl.arange(0, HALF), tl.arange(0, HEADS)
    inside, is_query = (heads < num_heads)[:, None], (heads < num_queries)[:, None]
    source = qkv + token * row_width + heads[:, None] * WIDTH
    target = out + (token * num_heads + heads[:, None]) * WIDTH
    first = tl.load(source + pairs[None, :], mask=inside, other=0.0)
    second = tl.load(source + HALF + pairs[None, :], mask=inside, other=0.0)
    x, y = first.to(tl.float32), second.to(tl.float32)
    squares = tl.sum(x * x, axis=1) + tl.sum(y * y, axis=1)
    if REST > 0:
        behind = 2 * HALF + tl.arange(0, REST)
        whole = inside & (behind < WIDTH)[None, :]
        third = tl.load(source + behind[None, :], mask=whole, other=0.0)
        z = third.to(tl.float32)
        squares += tl.sum(z * z, axis=1)
    scale = tl.rsqrt(squares / WIDTH + eps)[:, None]
    first = _weighted(first, scale, query_weight, key_weight, pairs, pairs < HALF, is_query)
    second = _weighted(second, scale, query_weight, key_weight, HALF + pairs, pairs < HALF, is_query)
    angle = position * (2 * HALF) + pairs
    cos_1, cos_2 = tl.load(cos + angle).to(tl.float32), tl.load(cos + angle + HALF).to(tl.float32)
    sin_1, sin_2 = tl.load(sin + angle).to(tl.float32), tl.load(sin + angle + HALF).to(tl.float32)
    x, y = _turned(first, second, cos_1[None, :], cos_2[None, :], sin_1[None, :], sin_2[None, :], ROUND)
    tl.store(target + pairs[None, :], x, mask=inside)
    tl.store(target + HALF + pairs[None, :], y, mask=inside)
    if REST > 0:
        third = _weighted(third, scale, query_weight, key_weight, behind, behind < WIDTH, is_query)
        tl.store(target + behind[None, :], third, mask=whole)


@triton.jit
def _turned(first, second, cos_1, cos_2, sin_1, sin_2, ROUND: tl.constexpr):
    x, y = first.to(tl.float32), second.to(tl.float32)
    a, b, c, d = x * cos_1, y * sin_1, y * cos_2, x * sin_2
    if ROUND:  # a table in the network's dtype: products are rounded before they are added
        a, b = a.to(first.dtype).to(tl.float32), b.to(first.dtype).to(tl.float32)
        c, d = c.to(first.dtype).to(tl.float32), d.to(first.dtype).to(tl.float32)
    return (a - b).to(first.dtype), (c + d).to(first.dtype)


@triton.jit
def _weighted(x, scale, query_weight, key_weight, columns, there, is_query):
    of_query = tl.load(query_weight + columns, mask=there, other=0.0).to(tl.float32)[None, :]
    of_key = tl.load(key_weight + columns, mask=there, other=0.0).to(tl.float32)[None, :]
    scaled = (x.to(tl.float32) * scale).to(x.dtype).to(tl.float32)
    return (tl.where(is_query, of_query, of_key) * scaled).to(x.dtype)


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
    head_width: int,
) -> None:
    """Rotate the first `num_heads` heads of every token in place; `table` has cosines and sines by position.

    Where the table is narrower than a head, so many of a head's first numbers are rotated.
    """
    cos, sin = table
    num_tokens, width = qkv.shape
    _rotate[(num_tokens,)](
        *(qkv, position_ids, cos, sin, width, num_heads),
        **{"WIDTH": head_width, "HALF": cos.shape[1] // 2, "HEADS": triton.next_power_of_2(num_heads)},
        **{"ROUND": cos.dtype != torch.float32, "num_warps": 8, **EXACT},
    )


def norm_and_rotate(
    qkv: Float[Tensor, "T W"],
    position_ids: Int[Tensor, " T"],
    table: tuple[Float[Tensor, "P R"], Float[Tensor, "P R"]],
    norms: tuple[Float[Tensor, " D"], Float[Tensor, " D"]],
    num_heads: tuple[int, int],
    eps: float,
) -> Float[Tensor, "T H D"]:
    """Root-mean-square norm of each head of queries and keys, then their rotation.

    Not in place: threads that read a head for its norm may come behind those that write it.

    Args:
        qkv: Begins with the queries of each token, head by head, and then its keys; more may follow.
        position_ids: Of each token.
        table: Cosines and sines by position; R, a power of two, of a head's first numbers are rotated.
        norms: Weights of queries and keys.
        num_heads: Heads of queries and of keys, which may be 0.
        eps: Of the norm.
    """
    (cos, sin), (of_query, of_key) = table, norms
    heads, width, half = sum(num_heads), len(of_query), cos.shape[1] // 2
    out = qkv.new_empty(len(qkv), heads, width)
    rest = width - 2 * half
    _norm_and_rotate[(len(qkv),)](
        *(qkv, position_ids, cos, sin, of_query, of_key, out, qkv.shape[1], num_heads[0], heads, eps),
        **{"WIDTH": width, "HALF": half, "REST": triton.next_power_of_2(rest) if rest else 0},
        **{"HEADS": triton.next_power_of_2(heads), "ROUND": cos.dtype != torch.float32, "num_warps": 8, **EXACT},
    )
    return out


def gated_silu(gate_up: Float[Tensor, "T two_F"]) -> Float[Tensor, "T F"]:
    """`silu(gate) * up`, where `gate_up` holds both side by side."""
    num_tokens, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(num_tokens, width)
    _gated_silu[(num_tokens, triton.cdiv(width, 2048))](gate_up, out, width, BLOCK=2048, num_warps=4, **EXACT)
    return out
