"""Keys and values of whole canvases, kept between passes: what the approximate caches recompute only parts of."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor


GROWTH = 1.5
"""When the memory is too small, it becomes this much larger than needed."""


def bytes_per_position(*, num_layers: int, num_heads: int, head_width: int, dtype: torch.dtype) -> int:
    """Memory of one position at most, while its old copy is still there because it grows."""
    return int(2 * num_layers * num_heads * head_width * dtype.itemsize * (1 + GROWTH))


class Slot:
    """The stretch of memory of one canvas; given back when nothing refers to it any more."""

    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length


class KeyValueMemory:
    """One stretch of positions for each canvas, in every layer; the very last position is for padding."""

    def __init__(
        self, *, num_layers: int, num_heads: int, head_width: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`num_heads` counts the heads of keys."""
        self.keys = torch.zeros(num_layers, 1, num_heads, head_width, dtype=dtype, device=device)
        """(layers, positions, heads, width), rotated already."""
        self.values = torch.zeros_like(self.keys)
        self._taken: dict[int, int] = {}  # start -> stop

    @property
    def capacity(self) -> int:
        """Positions, the one for padding included."""
        return int(self.keys.shape[1])

    def reserve(self, length: int) -> Slot:
        """A free stretch of `length` positions; what it holds is undefined until written."""
        start = self._first_gap(length)
        if start + length >= self.capacity:
            self._grow(start + length + 1)
        slot = Slot(start, length)
        self._taken[start] = start + length
        weakref.finalize(slot, self._taken.pop, start)
        return slot

    def write(
        self,
        layer: int,
        places: Int[Tensor, " T"],
        keys: Float[Tensor, "T H D"],
        values: Float[Tensor, "T H D"],
    ) -> tuple[Float[Tensor, "P H D"], Float[Tensor, "P H D"]]:
        """Put down keys and values of recomputed tokens; returns those of all positions."""
        self.keys[layer].index_copy_(0, places, keys)
        self.values[layer].index_copy_(0, places, values)
        return self.keys[layer], self.values[layer]

    def _first_gap(self, length: int) -> int:
        start = 0
        for taken in sorted(self._taken):
            if taken - start >= length:
                break
            start = self._taken[taken]
        return start

    def _grow(self, needed: int) -> None:
        layers, old, *rest = self.keys.shape
        # Both before either is put in place: there may be no room for the second.
        keys, values = (self.keys.new_zeros(layers, int(needed * GROWTH), *rest) for _ in range(2))
        keys[:, :old], values[:, :old] = self.keys, self.values
        self.keys, self.values = keys, values


@dataclass(frozen=True, kw_only=True)
class MemoryLayout:
    """Which positions of the memory the canvases of a pass read, and where its tokens are written."""

    memory: KeyValueMemory
    places: Int[Tensor, " T"]
    """Position in the memory of each token of the pass."""
    lengths: tuple[int, ...]
    """Positions that each canvas reads; they follow each other and cover the memory."""
    starts: Int[Tensor, " boundaries"]
    """First position of each canvas and, last, their number; int32."""
    longest: int
    """At least the largest of `lengths` of a canvas that has tokens in the pass."""

    @classmethod
    def of(
        cls, memory: KeyValueMemory, slots: Sequence[Slot], positions: Sequence[Int[Tensor, " _"]], num_padding: int
    ) -> "MemoryLayout":
        """For canvases in ascending order of slots; gaps between them count as canvases without tokens.

        The canvases are gap, slot, gap, slot, ..., gap, padding, as `with_gaps` arranges their tokens.
        """
        lengths, end = [], 0
        for slot in slots:
            lengths += [slot.start - end, slot.length]
            end = slot.start + slot.length
        lengths += [memory.capacity - 1 - end, 1]
        places = [slot.start + own for slot, own in zip(slots, positions, strict=True)]
        places.append(torch.full((num_padding,), memory.capacity - 1))
        return cls(
            memory=memory,
            places=torch.cat(places),
            lengths=tuple(lengths),
            starts=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
            longest=max(slot.length for slot in slots),
        )


def with_gaps(counts: Sequence[int], num_padding: int) -> tuple[int, ...]:
    """Tokens in the pass of each canvas of a `MemoryLayout`."""
    return (*(tokens for count in counts for tokens in (0, count)), 0, num_padding)
