"""GPU kernels that read a row of logits in parts, so that few rows fill a GPU, too.

A part has the same size whatever the number of rows, and a row's parts are added up in one order, so that a row's bits
do not depend on the rows beside it. Every part measures its logits from its own largest one. Source of the divergence
from a distribution with c and Y for d and Z of `fused_statistics`: sum(e**d * (d - c)) / Z + log(Y / Z).
"""

import triton
import triton.language as tl


BLOCK = 4096
"""Logits read at a time."""
PART = 4 * BLOCK
"""Logits of a row that one program reads."""


@triton.jit
def load_logits(
    conditional, unconditional, forbidden, start, scale, VOCAB: tl.constexpr, GUIDED: tl.constexpr, BLOCK: tl.constexpr
):
    """One block's tokens and their float32 logits after guidance, -inf for forbidden ones."""
    tokens = start + tl.arange(0, BLOCK)
    inside = tokens < VOCAB
    logits = tl.load(conditional + tokens, mask=inside, other=0.0).to(tl.float32)
    if GUIDED:
        baseline = tl.load(unconditional + tokens, mask=inside, other=0.0).to(tl.float32)
        logits = baseline + scale * (logits - baseline)
    banned = tl.load(forbidden + tokens, mask=inside, other=1)
    return tokens, tl.where(banned != 0, float("-inf"), logits)


@triton.jit
def part_divergence(
    conditional,
    unconditional,
    conditional_before,
    unconditional_before,
    forbidden,
    sums,
    scale,
    VOCAB: tl.constexpr,
    GUIDED: tl.constexpr,
    BLOCK: tl.constexpr,
    PART: tl.constexpr,
):
    """Of one part of a row and of what stands before it: their largest logits, and sums."""
    row, part = tl.program_id(0), tl.program_id(1)
    offset = row.to(tl.int64) * VOCAB
    conditional += offset
    unconditional += offset
    conditional_before += offset
    unconditional_before += offset
    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    largest_before = tl.full((BLOCK,), float("-inf"), tl.float32)
    for step in range(0, PART, BLOCK):
        start = part * PART + step
        _, x = load_logits(conditional, unconditional, forbidden, start, scale, VOCAB, GUIDED, BLOCK)
        _, y = load_logits(conditional_before, unconditional_before, forbidden, start, scale, VOCAB, GUIDED, BLOCK)
        largest = tl.maximum(largest, x)
        largest_before = tl.maximum(largest_before, y)
    # A part may hold forbidden tokens only; the least finite number stands for what nothing is measured from.
    best = tl.maximum(tl.max(largest, axis=0), -3.0e38)
    best_before = tl.maximum(tl.max(largest_before, axis=0), -3.0e38)
    total = tl.zeros((BLOCK,), tl.float32)
    total_before = tl.zeros((BLOCK,), tl.float32)
    weighted = tl.zeros((BLOCK,), tl.float32)
    for step in range(0, PART, BLOCK):
        start = part * PART + step
        _, x = load_logits(conditional, unconditional, forbidden, start, scale, VOCAB, GUIDED, BLOCK)
        _, y = load_logits(conditional_before, unconditional_before, forbidden, start, scale, VOCAB, GUIDED, BLOCK)
        power = tl.exp(x - best)
        total += power
        total_before += tl.exp(y - best_before)
        weighted += tl.where(power > 0, power * ((x - best) - (y - best_before)), 0.0)
    own = sums + (row.to(tl.int64) * tl.num_programs(1) + part) * 5
    tl.store(own, best.to(tl.float64))
    tl.store(own + 1, best_before.to(tl.float64))
    tl.store(own + 2, tl.sum(total.to(tl.float64), axis=0))
    tl.store(own + 3, tl.sum(total_before.to(tl.float64), axis=0))
    tl.store(own + 4, tl.sum(weighted.to(tl.float64), axis=0))


@triton.jit
def row_divergence(sums, out, PARTS: tl.constexpr, WIDTH: tl.constexpr):
    """A row's divergence, nats, from what its parts left."""
    row, parts = tl.program_id(0), tl.arange(0, WIDTH)
    inside = parts < PARTS
    own = sums + (row.to(tl.int64) * PARTS + parts) * 5
    best = tl.load(own, mask=inside, other=-3.0e38)
    best_before = tl.load(own + 1, mask=inside, other=-3.0e38)
    total = tl.load(own + 2, mask=inside, other=0.0)
    total_before = tl.load(own + 3, mask=inside, other=0.0)
    weighted = tl.load(own + 4, mask=inside, other=0.0)
    below = best - tl.max(best, axis=0)
    below_before = best_before - tl.max(best_before, axis=0)
    share = tl.exp(below)
    z = tl.sum(total * share, axis=0)
    z_before = tl.sum(total_before * tl.exp(below_before), axis=0)
    # Every d of a part, and every c, is measured from the part's own largest logit.
    moved = tl.where(total * share > 0, share * (weighted + total * (below - below_before)), 0.0)
    tl.store(out + row, tl.maximum(tl.sum(moved, axis=0) / z + tl.log(z_before / z), 0.0).to(tl.float32))


@triton.jit
def _raise(x, tokens, gains, first, end, num_rows, start, BLOCK: tl.constexpr):
    """One block's logits with the row's gains added to those of their tokens."""
    entries = gains + num_rows + 1
    num_gains = tl.load(gains + num_rows)
    for entry in range(first, end):
        token = tl.load(entries + entry)
        if (token >= start) & (token < start + BLOCK):
            gain = tl.load(entries + num_gains + entry).to(tl.float32, bitcast=True)
            x = tl.where(tokens == token, x + gain, x)
    return x


@triton.jit
def nothing_seen(BLOCK: tl.constexpr):
    """What every lane has before its first logit, for `two_largest`."""
    lowest = tl.full((BLOCK,), float("-inf"), tl.float32)
    return lowest, lowest, tl.full((BLOCK,), 2147483647, tl.int32)


@triton.jit
def two_largest(x, tokens, first, second, token_of_first):
    """Of every lane the two largest of its logits, and the token of the largest, with those of one more block."""
    second = tl.maximum(second, tl.minimum(first, x))
    token_of_first = tl.where(x > first, tokens, token_of_first)
    return tl.maximum(first, x), second, token_of_first


@triton.jit
def over_lanes(first, second, token_of_first, NONE: tl.constexpr):
    """The largest logit of all lanes, the lowest of its tokens, and the second largest; `NONE` is above any token."""
    best = tl.max(first, axis=0)
    argmax = tl.min(tl.where(first == best, token_of_first, NONE), axis=0)
    return best, argmax, tl.max(tl.where(token_of_first == argmax, second, first), axis=0)


@triton.jit
def _of_parts(sums, out, row, num_rows, PARTS: tl.constexpr, WIDTH: tl.constexpr):
    """Packed statistics of one row from what its parts left, added up in their order."""
    parts = tl.arange(0, WIDTH)
    inside = parts < PARTS
    own = sums + (row.to(tl.int64) * PARTS + parts) * 5
    first = tl.load(own, mask=inside, other=float("-inf"))
    second = tl.load(own + 1, mask=inside, other=float("-inf"))
    token_of_first = tl.load(own + 2, mask=inside, other=2147483647.0)
    total = tl.load(own + 3, mask=inside, other=0.0)
    weighted = tl.load(own + 4, mask=inside, other=0.0)
    best, argmax, runner_up = over_lanes(first, second, token_of_first, 2147483647.0)
    below = tl.maximum(first, -3.0e38) - best
    share = tl.exp(below)
    z = tl.sum(total * share, axis=0)
    confidence = 1.0 / z
    tl.store(out + row, tl.log(z) - tl.sum(share * (weighted + total * below), axis=0) / z)
    tl.store(out + num_rows + row, confidence)
    tl.store(out + 2 * num_rows + row, confidence - tl.exp(runner_up - best) / z)
    # In float32, as logits are subtracted elsewhere.
    gap = best.to(tl.float32) - runner_up.to(tl.float32)
    tl.store(out + 3 * num_rows + row, gap.to(tl.float64))
    tl.store(out + 4 * num_rows + row, argmax)


@triton.jit
def raised_statistics(
    conditional,
    unconditional,
    forbidden,
    gains,
    sums,
    done,
    out,
    scale,
    VOCAB: tl.constexpr,
    GUIDED: tl.constexpr,
    BLOCK: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Packed statistics of rows with gains: a program reads one part of a row, and the last to end adds it up.

    A part leaves its two largest logits, the token of the largest, and its sums. `done` counts the parts of each row
    that have ended: zeros before, and zeros again afterwards.
    """
    row, part, num_rows = tl.program_id(0), tl.program_id(1), tl.num_programs(0)
    conditional += row.to(tl.int64) * VOCAB
    unconditional += row.to(tl.int64) * VOCAB
    first_gain, end = tl.load(gains + row), tl.load(gains + row + 1)
    first, second, token_of_first = nothing_seen(BLOCK)
    for step in range(0, PART, BLOCK):
        start = part * PART + step
        tokens, x = load_logits(conditional, unconditional, forbidden, start, scale, VOCAB, GUIDED, BLOCK)
        x = _raise(x, tokens, gains, first_gain, end, num_rows, start, BLOCK)
        first, second, token_of_first = two_largest(x, tokens, first, second, token_of_first)
    best, argmax, runner_up = over_lanes(first, second, token_of_first, 2147483647)
    # A part may hold forbidden tokens only; the least finite number stands for what nothing is measured from.
    level = tl.maximum(best, -3.0e38)
    total = tl.zeros((BLOCK,), tl.float32)
    weighted = tl.zeros((BLOCK,), tl.float32)
    for step in range(0, PART, BLOCK):
        start = part * PART + step
        tokens, x = load_logits(conditional, unconditional, forbidden, start, scale, VOCAB, GUIDED, BLOCK)
        below = _raise(x, tokens, gains, first_gain, end, num_rows, start, BLOCK) - level
        power = tl.exp(below)
        total += power
        weighted += tl.where(power > 0, power * below, 0.0)
    own = sums + (row.to(tl.int64) * PARTS + part) * 5
    tl.store(own, best.to(tl.float64))
    tl.store(own + 1, runner_up.to(tl.float64))
    tl.store(own + 2, argmax.to(tl.float64))
    tl.store(own + 3, tl.sum(total.to(tl.float64), axis=0))
    tl.store(own + 4, tl.sum(weighted.to(tl.float64), axis=0))
    # What all threads have stored comes before the count, and the count before what the last program loads.
    tl.debug_barrier()
    if tl.atomic_add(done + row, 1, sem="acq_rel", scope="gpu") == PARTS - 1:
        tl.debug_barrier()
        _of_parts(sums, out, row, num_rows, PARTS, WIDTH)
        tl.store(done + row, 0)
