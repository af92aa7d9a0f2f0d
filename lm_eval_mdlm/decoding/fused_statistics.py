"""The statistics of a distribution as one GPU kernel that reads logits and nothing else.

One program reads one row in blocks of fixed size, so that a row's bits do not depend on the rows beside it. Source of
the entropy: log Z - sum(e**d * d) / Z with d = logit - largest logit and Z = sum(e**d).
"""

import functools
from collections.abc import Mapping, Sequence

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from .bias import packed_gains
from .logits import LogitRule
from .row_parts import (
    BLOCK,
    PART,
    load_logits,
    nothing_seen,
    over_lanes,
    part_divergence,
    raised_statistics,
    row_divergence,
    two_largest,
)
from .transfer import on_device


@triton.jit
def _row_statistics(
    conditional,
    unconditional,
    forbidden,
    targets,
    out,
    scale,
    VOCAB: tl.constexpr,
    GUIDED: tl.constexpr,
    TARGETS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, num_rows = tl.program_id(0), tl.num_programs(0)
    conditional += row.to(tl.int64) * VOCAB
    unconditional += row.to(tl.int64) * VOCAB
    first, second, token_of_first = nothing_seen(BLOCK)
    for start in range(0, VOCAB, BLOCK):
        tokens, x = load_logits(conditional, unconditional, forbidden, start, scale, VOCAB, GUIDED, BLOCK)
        first, second, token_of_first = two_largest(x, tokens, first, second, token_of_first)
    best, argmax, runner_up = over_lanes(first, second, token_of_first, 2147483647)
    total = tl.zeros((BLOCK,), tl.float32)
    weighted = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, VOCAB, BLOCK):
        tokens, x = load_logits(conditional, unconditional, forbidden, start, scale, VOCAB, GUIDED, BLOCK)
        below = x - best
        power = tl.exp(below)
        total += power
        weighted += tl.where(power > 0, power * below, 0.0)
    z = tl.sum(total.to(tl.float64), axis=0)
    entropy = tl.log(z) - tl.sum(weighted.to(tl.float64), axis=0) / z
    confidence = 1.0 / z
    margin = confidence - tl.exp((runner_up - best).to(tl.float64)) / z
    tl.store(out + row, entropy)
    tl.store(out + num_rows + row, confidence)
    tl.store(out + 2 * num_rows + row, margin)
    tl.store(out + 3 * num_rows + row, (best - runner_up).to(tl.float64))
    tl.store(out + 4 * num_rows + row, argmax.to(tl.float64))
    if TARGETS:
        target = tl.load(targets + row)
        x = tl.load(conditional + target).to(tl.float32)
        if GUIDED:
            baseline = tl.load(unconditional + target).to(tl.float32)
            x = baseline + scale * (x - baseline)
        x = tl.where(tl.load(forbidden + target) != 0, float("-inf"), x)
        tl.store(out + 5 * num_rows + row, (x - best).to(tl.float64) - tl.log(z))


class FusedStatistics:
    """Reads statistics on a GPU straight from a head's logits, in whatever dtype they are."""

    fixed_rows = False
    """Whether every call must have the same number of rows for a row's bits not to depend on it."""
    bytes_per_gain = 0
    """Gains are added where logits are read; no copy holds them."""
    most_rows = 1024
    """Rows from which reading more together is no faster."""

    def __init__(self, vocab_size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.bytes_per_entry = 2 * dtype.itemsize
        self.bytes_per_pair = 4 * dtype.itemsize
        self._vocab_size = vocab_size
        self._done = torch.zeros(self.most_rows, dtype=torch.int32, device=device)
        # Not of a method: reader and cache would hold each other, and tensors, until garbage is collected.
        self._forbidden = functools.lru_cache(maxsize=16)(functools.partial(_mask, vocab_size, device))

    def __call__(
        self,
        rule: LogitRule,
        conditional: Float[Tensor, "R V"],
        unconditional: Float[Tensor, "R V"] | None = None,
        targets: Int[Tensor, " R"] | None = None,
    ) -> Float64[Tensor, "C R"]:
        """Packed statistics of every row after `rule`; `conditional` and `unconditional` stay as they are."""
        with torch.cuda.device_of(conditional):
            return self._read(rule, conditional, unconditional, targets)

    def _read(
        self,
        rule: LogitRule,
        conditional: Float[Tensor, "R V"],
        unconditional: Float[Tensor, "R V"] | None,
        targets: Int[Tensor, " R"] | None,
    ) -> Float64[Tensor, "C R"]:
        num_columns, forbidden = 5 if targets is None else 6, self._forbidden(rule.forbidden_ids)
        out = torch.empty(num_columns, len(conditional), dtype=torch.float64, device=conditional.device)
        _row_statistics[(len(conditional),)](
            conditional.contiguous(),
            (conditional if unconditional is None else unconditional).contiguous(),
            *(forbidden, forbidden if targets is None else targets.contiguous(), out, rule.cfg_scale + 1.0),
            **{"VOCAB": self._vocab_size, "GUIDED": unconditional is not None, "TARGETS": targets is not None},
            **{"BLOCK": BLOCK, "num_warps": 8, "enable_fp_fusion": False},  # guidance is rounded as in `LogitRule`
        )
        return out

    def divergence(
        self, rule: LogitRule, sides: Sequence[Float[Tensor, "R V"]], before: Sequence[Float[Tensor, "R V"]]
    ) -> Float[Tensor, " R"]:
        """KL divergence of every row's distribution from the one before it, nats.

        Args:
            rule: Applied to both.
            sides: Conditional and, under guidance, unconditional logits.
            before: As many.
        """
        num_parts = triton.cdiv(self._vocab_size, PART)
        sums = torch.empty(len(sides[0]), num_parts, 5, dtype=torch.float64, device=sides[0].device)
        out = torch.empty(len(sides[0]), dtype=torch.float32, device=sides[0].device)
        with torch.cuda.device_of(out):
            part_divergence[(len(out), num_parts)](
                *(logits.contiguous() for logits in (sides[0], sides[-1], before[0], before[-1])),
                *(self._forbidden(rule.forbidden_ids), sums, rule.cfg_scale + 1.0),
                **{"VOCAB": self._vocab_size, "GUIDED": rule.guided, "BLOCK": BLOCK, "PART": PART},
                **{"num_warps": 8, "enable_fp_fusion": False},
            )
            row_divergence[(len(out),)](
                sums,
                out,
                **{"PARTS": num_parts, "WIDTH": triton.next_power_of_2(num_parts)},
                **{"num_warps": 1, "enable_fp_fusion": False},
            )
        return out

    def biased(
        self, rule: LogitRule, sides: Sequence[Float[Tensor, "R V"]], gains: Sequence[Mapping[int, float]]
    ) -> Float64[Tensor, "C R"]:
        """Packed statistics of every row after `rule`, with something added to the logits of the first rows.

        Args:
            rule: Guidance and left out tokens.
            sides: Conditional and, under guidance, unconditional logits; they stay as they are.
            gains: For each row its tokens and what their logits gain.
        """
        num_rows, num_parts = len(sides[0]), triton.cdiv(self._vocab_size, PART)
        sums = torch.empty(num_rows, num_parts, 5, dtype=torch.float64, device=sides[0].device)
        out = torch.empty(5, num_rows, dtype=torch.float64, device=sides[0].device)
        if num_rows > len(self._done):
            self._done = torch.zeros(num_rows, dtype=torch.int32, device=out.device)
        with torch.cuda.device_of(out):
            raised_statistics[(num_rows, num_parts)](
                *(sides[0].contiguous(), sides[-1].contiguous(), self._forbidden(rule.forbidden_ids)),
                *(on_device(packed_gains(gains, num_rows), out.device), sums, self._done, out, rule.cfg_scale + 1.0),
                **{"VOCAB": self._vocab_size, "GUIDED": rule.guided, "BLOCK": BLOCK, "PART": PART},
                **{"PARTS": num_parts, "WIDTH": triton.next_power_of_2(num_parts)},
                **{"num_warps": 8, "enable_fp_fusion": False},
            )
        return out


def _mask(vocab_size: int, device: torch.device, forbidden_ids: tuple[int, ...]) -> UInt8[Tensor, " V"]:
    mask = torch.zeros(vocab_size, dtype=torch.uint8, device=device)
    mask[list(forbidden_ids)] = 1
    return mask
