"""How sure the network was of what was committed, and what committing several at once may cost; recordings alone.

The pass that an exit ends is left out: it fills the answer as a whole, whatever the sampler would have done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .order import num_passes
from .steps import Steps


SAFE_BOUND = 0.1
"""Nats of sum minus largest entropy up to which commits of one pass count as safe together: the default of the sampler
`entropy_bound`."""


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """Of a set of numbers."""

    mean: float
    p10: float
    median: float
    p90: float
    largest: float
    n: int


def quantiles(values: Sequence[float] | NDArray[np.floating]) -> Quantiles | None:
    """None for no number."""
    if not len(values):
        return None
    p10, median, p90 = np.quantile(values, [0.1, 0.5, 0.9])
    return Quantiles(
        mean=float(np.mean(values)),
        p10=float(p10),
        median=float(median),
        p90=float(p90),
        largest=float(np.max(values)),
        n=len(values),
    )


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """Of all commits of all rows."""

    entropy: Quantiles | None
    """Nats, of every commit."""
    lone_entropy: Quantiles | None
    """Nats, of commits that were the only one of their pass although more masks were left."""
    lone_share: float
    """Of passes with more than one mask left, those with one commit."""
    bound: Quantiles | None
    """Sum minus largest entropy of passes with several commits, nats: what they may lose if conditionals agree."""
    safe_number: Quantiles | None
    """Of passes with several commits: how many of these, the surest first, stay within `SAFE_BOUND` together."""
    unsafe_share: float
    """Of passes with several commits, those that hold more than is safe."""


def certainty_of(rows: Sequence[Steps]) -> Certainty:
    """All rows together."""
    entropies: list[float] = []
    lone, bounds, safe, sizes, num_open = [], [], [], [], 0
    for row in rows:
        for entropy, num_left in _passes(row):
            entropies += entropy.tolist()
            num_open += num_left > 1
            if len(entropy) > 1:
                bounds.append(float(np.sort(entropy)[:-1].sum()))
                safe.append(safe_number(entropy))
                sizes.append(len(entropy))
            elif len(entropy) == 1 and num_left > 1:
                lone.append(float(entropy[0]))
    return Certainty(
        entropy=quantiles(entropies),
        lone_entropy=quantiles(lone),
        lone_share=len(lone) / num_open if num_open else 0.0,
        bound=quantiles(bounds),
        safe_number=quantiles(safe),
        unsafe_share=float(np.mean(np.array(safe) < np.array(sizes))) if safe else 0.0,
    )


def safe_number(entropy: NDArray[np.floating]) -> int:
    """Most of these, the surest first, whose sum minus largest entropy is at most `SAFE_BOUND`; at least 1."""
    others = np.cumsum(np.sort(entropy.astype(np.float64)))[:-1]  # in this order the last one is the largest
    return 1 + int((others <= SAFE_BOUND).sum())


def _passes(row: Steps) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Of every pass the entropies of its commits, and how many masks it found."""
    masked = row.region_ids == row.mask_token_id
    for step in range(num_passes(row)):
        own = row.of_step(step)
        new = masked[row.positions[own]]
        num_left = int(masked.sum())
        masked[row.positions[own]] = False
        masked[row.remasked_in(step)] = True
        yield row.entropy[own][new], num_left
