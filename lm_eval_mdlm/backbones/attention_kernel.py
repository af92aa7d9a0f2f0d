"""Attention over packed canvases as one GPU kernel, in tiles that also suit short canvases.

One program owns 64 queries of one canvas and head, and reads that canvas's keys in blocks of 64 from its first one on,
so that a token's bits depend on nothing outside its canvas. The softmax is taken on the way (Milakov and Gimelshein
2018, arXiv:1805.02867), in float32. The library's kernel works on 128 queries at a time, which leaves many of a GPU's
multiprocessors idle in the last round of a pass over few tokens.

In a block-causal network a query sees the first keys of its canvas, and their number is given. A program reads on to
the most that one of its queries sees; what a query does not see adds exact zeros to its sums, so that its bits depend
neither on the queries beside it nor on keys behind those that it sees.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor


QUERIES, KEYS = 64, 64
"""Of a program, and read at a time."""
LOG2_E = 1.4426950408889634


@triton.jit
def _mix_in(score, values, there, largest, total, mixed):
    """The largest scores, sums and weighted values with those of further keys, all of them scaled to the largest."""
    now = tl.maximum(largest, tl.max(score, 1))
    power, shrink = tl.exp2(score - now[:, None]), tl.exp2(largest - now)
    v = tl.load(values, mask=there[:, None], other=0.0)
    mixed = tl.dot(power.to(v.dtype), v, mixed * shrink[:, None], input_precision="ieee")
    return now, total * shrink + tl.sum(power, 1), mixed


@triton.jit
def _attend(
    query,
    key,
    value,
    out,
    starts,
    key_starts,
    visible,
    scale,
    query_stride,
    key_stride,
    value_stride,
    out_stride,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    LIMITED: tl.constexpr,
):
    head, canvas = tl.program_id(1), tl.program_id(2)
    first, end = tl.load(starts + canvas), tl.load(starts + canvas + 1)
    first += tl.program_id(0) * QUERIES
    if first < end:
        first_key = tl.load(key_starts + canvas).to(tl.int64)
        num_keys = (tl.load(key_starts + canvas + 1) - first_key).to(tl.int32)
        rows, across, along = first + tl.arange(0, QUERIES), tl.arange(0, WIDTH), tl.arange(0, KEYS)
        inside = (rows < end)[:, None]
        if LIMITED:
            sees = tl.load(visible + rows, mask=rows < end, other=0)
            num_keys = tl.minimum(num_keys, tl.max(sees, 0))
        place = rows[:, None].to(tl.int64)
        q = tl.load(query + place * query_stride + head * WIDTH + across[None, :], mask=inside, other=0.0)
        key += first_key * key_stride + (head // GROUP) * WIDTH
        value += first_key * value_stride + (head // GROUP) * WIDTH
        keys = key + along[None, :] * key_stride + across[:, None]
        values = value + along[:, None] * value_stride + across[None, :]
        largest = tl.full((QUERIES,), float("-inf"), tl.float32)
        total = tl.zeros((QUERIES,), tl.float32)
        mixed = tl.zeros((QUERIES, WIDTH), tl.float32)
        for start in range(0, num_keys, KEYS):
            there = along < num_keys - start
            k = tl.load(keys + start * key_stride, mask=there[None, :], other=0.0)
            seen = there[None, :]
            if LIMITED:
                seen = seen & (start + along[None, :] < sees[:, None])
            score = tl.where(seen, tl.dot(q, k, input_precision="ieee") * scale, float("-inf"))
            own = values + start * value_stride
            largest, total, mixed = _mix_in(score, own, there, largest, total, mixed)
        mixed = (mixed / total[:, None]).to(q.dtype)
        tl.store(out + place * out_stride + head * WIDTH + across[None, :], mixed, mask=inside)


def attend(
    query: Float[Tensor, "T Hq D"],
    key: Float[Tensor, "P Hkv D"],
    value: Float[Tensor, "P Hkv D"],
    starts: Int[Tensor, " boundaries"],
    key_starts: Int[Tensor, " boundaries"],
    longest: int,
    *,
    scale: float,
    visible: Int[Tensor, " T"] | None = None,
) -> Float[Tensor, "T Hq D"]:
    """Attention of each canvas's queries to the keys of the same canvas, of which there is at least one.

    Args:
        query: D is a power of two, at least 16; `longest` is at least the most queries of a canvas.
        key: Hq is a multiple of Hkv.
        value: Like `key`.
        starts: Where the queries of each canvas begin and, last, their number; int32.
        key_starts: The same of keys.
        longest: Bounds the grid and changes no result.
        scale: Of scores, before the softmax.
        visible: How many keys each query sees, counted from the first of its canvas, at least one and never more than
            there are; int32. All of them if left out.
    """
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    heads, width = query.shape[1:]
    assert all(part.stride()[1:] == (width, 1) for part in (query, key, value)), "heads must lie side by side"
    _attend[(triton.cdiv(longest, QUERIES), heads, len(starts) - 1)](
        *(query, key, value, out, starts, key_starts, starts if visible is None else visible, scale * LOG2_E),
        *(query.stride(0), key.stride(0), value.stride(0), out.stride(0)),
        **{"GROUP": heads // key.shape[1], "WIDTH": width, "QUERIES": QUERIES, "KEYS": KEYS},
        **{"LIMITED": visible is not None, "num_warps": 4, "num_stages": 3},
    )
    return out
