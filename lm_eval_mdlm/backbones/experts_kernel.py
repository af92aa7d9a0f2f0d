"""Grouped products as GPU kernels: rows sorted by expert, in tiles of which each has rows of one expert.

A tile's rows that it lacks are zeros. Every sum runs over the inner dimension from its beginning, whatever the tile
holds and however large it is. Values are rounded to the network's dtype wherever transformers' grouped experts round
them.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor


FEW_ROWS, MANY_ROWS = 64, 128
"""Of a tile: the least that the matrix units of a Hopper GPU take at a time, and twice as many."""
COLUMNS, INNER = 128, 64
"""Of an expert's weights that a program computes with, and that it reads at a time."""
ROUTER_COLUMNS, ROUTER_INNER = 32, 128
EXACT = {"enable_fp_fusion": False}
SHAPES = {FEW_ROWS: {"num_warps": 4, "num_stages": 4, **EXACT}, MANY_ROWS: {"num_warps": 8, "num_stages": 3, **EXACT}}
"""By rows of a tile; the larger one takes less shared memory, so that a GPU that runs the smaller one runs both."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Where tiles lie among sorted rows: as many as any choice of experts can need, most of the last ones empty."""

    rows: int
    """Of a tile, at most."""
    places: Int[Tensor, "tiles 3"]
    """Expert, first row and end of the rows of each; an empty one ends where it begins. int32."""


@triton.jit
def _lay_tiles(starts, places, num_experts, EXPERTS: tl.constexpr, ROWS: tl.constexpr):
    tile, experts = tl.program_id(0), tl.arange(0, EXPERTS)
    there = experts < num_experts
    first = tl.load(starts + experts, mask=there, other=0)
    end = tl.load(starts + experts + 1, mask=there, other=0)
    tiles = (end - first + ROWS - 1) // ROWS
    own = tl.sum((tl.cumsum(tiles, 0) <= tile).to(tl.int32), 0)  # of experts that end before this tile
    before = tl.sum(tl.where(experts < own, tiles, 0), 0)
    row = tl.sum(tl.where(experts == own, first, 0), 0) + (tile - before) * ROWS
    stop = tl.minimum(tl.sum(tl.where(experts == own, end, 0), 0), row + ROWS)
    is_empty = own >= num_experts
    tl.store(places + 3 * tile, tl.where(is_empty, 0, own))
    tl.store(places + 3 * tile + 1, tl.where(is_empty, 0, row))
    tl.store(places + 3 * tile + 2, tl.where(is_empty, 0, stop))


@triton.jit
def _gated_up(
    tokens,
    weights,
    order,
    places,
    out,
    inner,
    width,
    PER_TOKEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    EVEN: tl.constexpr,
):
    place = places + 3 * tl.program_id(1)
    expert, first, end = tl.load(place).to(tl.int64), tl.load(place + 1), tl.load(place + 2)
    if first < end:
        rows, along = first + tl.arange(0, ROWS), tl.arange(0, INNER)
        columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
        inside, fits = (rows < end)[:, None], (columns < width)[None, :]
        token = tl.load(order + rows, mask=rows < end, other=0).to(tl.int64) // PER_TOKEN
        x = tokens + token[:, None] * inner + along[None, :]
        gate = weights + expert * 2 * width * inner + columns.to(tl.int64)[None, :] * inner + along[:, None]
        up = gate + width.to(tl.int64) * inner
        gated, upped = tl.zeros((ROWS, COLUMNS), tl.float32), tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, inner, INNER):
            if EVEN:
                a = tl.load(x + start, mask=inside, other=0.0)
                g, u = tl.load(gate + start), tl.load(up + start)
            else:
                left = along < inner - start
                a = tl.load(x + start, mask=inside & left[None, :], other=0.0)
                g = tl.load(gate + start, mask=fits & left[:, None], other=0.0)
                u = tl.load(up + start, mask=fits & left[:, None], other=0.0)
            gated = tl.dot(a, g, gated, input_precision="ieee")
            upped = tl.dot(a, u, upped, input_precision="ieee")
        dtype = out.dtype.element_ty
        wide = gated.to(dtype).to(tl.float32)
        activated = (wide / (1.0 + tl.exp(-wide))).to(dtype).to(tl.float32)
        activated = (activated * upped.to(dtype).to(tl.float32)).to(dtype)
        tl.store(out + rows.to(tl.int64)[:, None] * width + columns[None, :], activated, mask=inside & fits)


@triton.jit
def _down(
    activated,
    weights,
    order,
    places,
    out,
    inner,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
    EVEN: tl.constexpr,
):
    place = places + 3 * tl.program_id(1)
    expert, first, end = tl.load(place).to(tl.int64), tl.load(place + 1), tl.load(place + 2)
    if first < end:
        rows, along = first + tl.arange(0, ROWS), tl.arange(0, INNER)
        columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
        inside, fits = (rows < end)[:, None], (columns < width)[None, :]
        x = activated + rows.to(tl.int64)[:, None] * inner + along[None, :]
        weight = weights + expert * width * inner + columns.to(tl.int64)[None, :] * inner + along[:, None]
        mixed = tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, inner, INNER):
            if EVEN:
                a, w = tl.load(x + start, mask=inside, other=0.0), tl.load(weight + start)
            else:
                left = along < inner - start
                a = tl.load(x + start, mask=inside & left[None, :], other=0.0)
                w = tl.load(weight + start, mask=fits & left[:, None], other=0.0)
            mixed = tl.dot(a, w, mixed, input_precision="ieee")
        target = tl.load(order + rows, mask=rows < end, other=0).to(tl.int64)
        mixed = mixed.to(out.dtype.element_ty)
        tl.store(out + target[:, None] * width + columns[None, :], mixed, mask=inside & fits)


@triton.jit
def _combine(
    rows,
    weights,
    shared,
    out,
    width,
    PER_TOKEN: tl.constexpr,
    ROUND: tl.constexpr,
    SHARED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    dtype = out.dtype.element_ty
    total = tl.zeros((BLOCK,), tl.float32)
    for i in tl.static_range(PER_TOKEN):
        row = tl.load(rows + (token * PER_TOKEN + i) * width + columns, mask=inside, other=0.0).to(tl.float32)
        weighted = row * tl.load(weights + token * PER_TOKEN + i).to(tl.float32)
        if ROUND:  # weights in the network's dtype: what they weigh is rounded before it is added
            weighted = weighted.to(dtype).to(tl.float32)
        total += weighted
    mixed = total.to(dtype)
    if SHARED:
        other = tl.load(shared + token * width + columns, mask=inside, other=0.0).to(tl.float32)
        mixed = (mixed.to(tl.float32) + other).to(dtype)
    tl.store(out + token * width + columns, mixed, mask=inside)


@triton.jit
def _product(
    tokens,
    weight,
    out,
    num_tokens,
    inner,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    columns, along = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, INNER)
    inside, fits = (rows < num_tokens)[:, None], (columns < width)[None, :]
    x = tokens + rows.to(tl.int64)[:, None] * inner + along[None, :]
    w = weight + columns[None, :] * inner + along[:, None]
    mixed = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, inner, INNER):
        left = along < inner - start
        a = tl.load(x + start, mask=inside & left[None, :], other=0.0)
        b = tl.load(w + start, mask=fits & left[:, None], other=0.0)
        mixed = tl.dot(a, b, mixed, input_precision="ieee")
    target = out + rows.to(tl.int64)[:, None] * width + columns[None, :]
    tl.store(target, mixed.to(out.dtype.element_ty), mask=inside & fits)


def lay_tiles(ordered: Int[Tensor, " A"], num_experts: int, rows: int | None = None) -> Tiles:
    """Cut rows with these experts, in ascending order, into tiles of up to `rows`, or of a size that suits them."""
    number = len(ordered)
    if rows is None:
        rows = MANY_ROWS if number >= MANY_ROWS * num_experts else FEW_ROWS
    bounds = torch.arange(num_experts + 1, dtype=ordered.dtype, device=ordered.device)
    starts = torch.searchsorted(ordered, bounds, out_int32=True)
    # Every expert has at most one tile that is not full, and none without a row.
    places = starts.new_empty(number // rows + min(num_experts, number), 3)
    block = triton.next_power_of_2(num_experts)
    _lay_tiles[(len(places),)](starts, places, num_experts, EXPERTS=block, ROWS=rows, num_warps=1)
    return Tiles(rows=rows, places=places)


def gated_up(
    tokens: Float[Tensor, "T D"],
    weights: Float[Tensor, "E two_F D"],
    order: Int[Tensor, " A"],
    tiles: Tiles,
    per_token: int,
) -> Float[Tensor, "A F"]:
    """`silu(gate) * up` of each row by its expert, rows in the order of `tiles`.

    Args:
        tokens: Each has `per_token` rows, which follow each other.
        weights: Gate and up of each expert, one below the other.
        order: Which row stands at each place of the tiles.
        tiles: Of the rows.
        per_token: Rows of a token.
    """
    width, inner = weights.shape[1] // 2, weights.shape[2]
    out = tokens.new_empty(len(order), width)
    _gated_up[(triton.cdiv(width, COLUMNS), len(tiles.places))](
        *(tokens, weights, order, tiles.places, out, inner, width),
        **{"PER_TOKEN": per_token, "ROWS": tiles.rows, **_sizes(inner, width)},
        **SHAPES[tiles.rows],
    )
    return out


def project_down(
    activated: Float[Tensor, "A F"], weights: Float[Tensor, "E D F"], order: Int[Tensor, " A"], tiles: Tiles
) -> Float[Tensor, "A D"]:
    """The product of each row with its expert's weights; rows come in the order of `tiles`, and leave in their own."""
    width, inner = weights.shape[1:]
    out = activated.new_empty(len(order), width)
    _down[(triton.cdiv(width, COLUMNS), len(tiles.places))](
        *(activated, weights, order, tiles.places, out, inner, width),
        **{"ROWS": tiles.rows, **_sizes(inner, width)},
        **SHAPES[tiles.rows],
    )
    return out


def combine(
    rows: Float[Tensor, "A D"], weights: Float[Tensor, "T K"], shared: Float[Tensor, "T D"] | None
) -> Float[Tensor, "T D"]:
    """The weighted sum of each token's rows, which follow each other, plus `shared`."""
    (num_tokens, per_token), width = weights.shape, rows.shape[1]
    out = rows.new_empty(num_tokens, width)
    _combine[(num_tokens, triton.cdiv(width, 2048))](
        *(rows, weights.contiguous(), out if shared is None else shared, out, width),
        **{"PER_TOKEN": per_token, "ROUND": weights.dtype == rows.dtype, "SHARED": shared is not None},
        **{"BLOCK": 2048, "num_warps": 4, **EXACT},
    )
    return out


def product(tokens: Float[Tensor, "T D"], weight: Float[Tensor, "E D"], dtype: torch.dtype) -> Float[Tensor, "T E"]:
    """Of each token with each row of `weight`, summed in float32 in one order and rounded to `dtype`."""
    width, inner = weight.shape
    out = tokens.new_empty(len(tokens), width, dtype=dtype)
    _product[(triton.cdiv(width, ROUTER_COLUMNS), triton.cdiv(len(tokens), FEW_ROWS))](
        *(tokens, weight, out, len(tokens), inner, width),
        **{"ROWS": FEW_ROWS, "COLUMNS": ROUTER_COLUMNS, "INNER": ROUTER_INNER},
        **{"num_warps": 4, "num_stages": 4, **EXACT},
    )
    return out


def _sizes(inner: int, width: int) -> dict[str, int | bool]:
    even = inner % INNER == 0 and width % COLUMNS == 0
    return {"COLUMNS": COLUMNS, "INNER": INNER, "EVEN": even}
