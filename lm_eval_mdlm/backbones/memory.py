"""Keys and values of whole canvases, kept between passes: what the approximate caches recompute only parts of."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .shortage import is_out_of_memory


GROWTH = 1.5
"""When the memory is too small, it becomes this much larger than needed, where there is room for that."""


def bytes_per_position(*, num_layers: int, num_heads: int, head_width: int, dtype: torch.dtype) -> int:
    """Memory of one position. What the memory holds beyond its slots is given up when it is needed for anything."""
    return 2 * num_layers * num_heads * head_width * dtype.itemsize


class Slot:
    """The stretch of memory of one canvas; given back when nothing refers to it any more."""

    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length


class KeyValueMemory:
    """One stretch of positions for each canvas, in every layer; the very last position is for padding.

    Each layer has tensors of its own, so that the memory can change its size by little more than one layer's share.
    """

    def __init__(
        self, *, num_layers: int, num_heads: int, head_width: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """`num_heads` counts the heads of keys."""
        empty = torch.zeros(1, num_heads, head_width, dtype=dtype, device=device)
        self._layers = [empty.clone() for _ in range(2 * num_layers)]
        """(positions, heads, width) of each layer's keys, rotated already, and values in turn; after a change of size
        that failed, some have more positions than `capacity`."""
        self.capacity = 1
        """Positions, the one for padding included."""
        self.version = 0
        """Changes whenever tensors move, so that what was recorded on them is known to be stale."""
        self._growth = GROWTH
        self._taken: dict[int, int] = {}  # start -> stop

    def reserve(self, length: int) -> Slot:
        """A free stretch of `length` positions; what it holds is undefined until written.

        Raises:
            torch.OutOfMemoryError: If it does not fit; the memory is then as good as before.
        """
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
        all_keys, all_values = self.of_layer(layer)
        all_keys.index_copy_(0, places, keys)
        all_values.index_copy_(0, places, values)
        return all_keys, all_values

    def of_layer(self, layer: int) -> tuple[Float[Tensor, "P H D"], Float[Tensor, "P H D"]]:
        """Keys and values of all positions of one layer."""
        return self._layers[2 * layer][: self.capacity], self._layers[2 * layer + 1][: self.capacity]

    def trim(self) -> bool:
        """Give back all positions behind the last slot, and grow by no more than needed from now on.

        Returns:
            Whether there were any; not so if there is no memory for the copy.
        """
        needed = 1 + max(self._taken.values(), default=0)
        if all(len(tensor) <= needed for tensor in self._layers):
            return False
        self._growth = 1.0
        try:
            self._resize(needed)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _first_gap(self, length: int) -> int:
        start = 0
        for taken in sorted(self._taken):
            if taken - start >= length:
                break
            start = self._taken[taken]
        return start

    def _grow(self, needed: int) -> None:
        generous = int(needed * self._growth)
        if generous > needed:
            try:
                # In one piece first, so that what does not fit is mostly noticed before any layer has moved.
                self._layers[0].new_empty(
                    2 * len(self._layers) * (generous - self.capacity), *self._layers[0].shape[1:]
                )
                return self._resize(generous)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
        self._resize(needed)

    def _resize(self, capacity: int) -> None:
        """Change every layer's size, one after the other; may fail half-way, with all that was held still there."""
        self.version += 1
        for i, old in enumerate(self._layers):
            if len(old) == capacity:
                continue
            new = old.new_zeros(capacity, *old.shape[1:])
            kept = min(len(old), capacity)
            new[:kept] = old[:kept]
            self._layers[i] = new
            self.capacity = min(self.capacity, capacity)  # while some are smaller already
        self.capacity = capacity


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
