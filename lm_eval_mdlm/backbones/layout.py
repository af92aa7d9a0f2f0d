"""Where the canvases of one packed pass lie: built once per pass, before the layers run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby

import torch
from jaxtyping import Int
from torch import Tensor

from .memory import KeyValueMemory, MemoryLayout, Slot, with_gaps


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Canvases end to end, and after them a stretch of padding that counts as one more canvas."""

    lengths: tuple[int, ...]
    """Tokens of each canvas; the last entry is the padding where there is any."""
    longest: int
    """At least the largest of `lengths`."""
    starts: Int[Tensor, " boundaries"]
    """First token of each canvas and, last, the number of tokens: int32, as attention kernels want it."""
    position_ids: Int[Tensor, " T"]
    """Position of each token in its canvas, from 0."""
    longest_canvas: int
    """Above every entry of `position_ids`."""
    memory: MemoryLayout | None = None
    """Where the other tokens' keys and values are, if the pass holds only parts of canvases."""
    visible: Int[Tensor, " T"] | None = None
    """How many keys each token sees, counted from the first of its canvas, int32: those up to the end of its grid block
    (block-causal families); None where every token sees its whole canvas."""

    @classmethod
    def of(cls, lengths: Sequence[int], num_tokens: int, grid_block: int | None = None) -> "Layout":
        """Lay out, on the host, whole canvases of these lengths, none empty, and fill up to `num_tokens`.

        With `grid_block`, a token sees the blocks of so many positions up to its own; without, all of its canvas.
        """
        num_padding = num_tokens - sum(lengths)
        filled = (*lengths, num_padding) if num_padding else tuple(lengths)
        counting = torch.arange(max(filled))
        positions = [counting[:length] for length in filled]
        return cls(
            lengths=filled,
            longest=max(filled),
            longest_canvas=max(filled),
            starts=torch.tensor([0, *accumulate(filled)], dtype=torch.int32),
            position_ids=torch.cat(positions),
            visible=_visible(positions, filled, grid_block),
        )

    @classmethod
    def of_parts(
        cls,
        memory: KeyValueMemory,
        slots: Sequence[Slot],
        positions: Sequence[Int[Tensor, " _"]],
        num_tokens: int,
        grid_block: int | None = None,
    ) -> "Layout":
        """Lay out parts of canvases, in ascending order of their slots, and fill up to `num_tokens`; see `of`."""
        counts = [len(own) for own in positions]
        num_padding = num_tokens - sum(counts)
        lengths = with_gaps(counts, num_padding)
        padding = torch.zeros(num_padding, dtype=torch.long)
        return cls(
            lengths=lengths,
            longest=max(lengths),
            longest_canvas=max(slot.length for slot in slots),
            starts=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
            position_ids=torch.cat([*positions, padding]),
            memory=MemoryLayout.of(memory, slots, positions, num_padding),
            visible=_visible([*positions, padding], [*(slot.length for slot in slots), 1], grid_block),
        )

    @cached_property
    def sights(self) -> tuple[tuple[tuple[int, int], ...], ...] | None:
        """Of each canvas, runs of tokens that see alike: their number, and how many keys they see; None if all do."""
        if self.visible is None:
            return None
        by_canvas = torch.split(self.visible.cpu(), list(self.lengths))
        return tuple(tuple((len(list(run)), keys) for keys, run in groupby(own.tolist())) for own in by_canvas)

    def to(self, device: torch.device) -> "Layout":
        """The same on a device."""
        memory = self.memory
        if memory is not None:
            memory = replace(memory, places=_moved(memory.places, device), starts=_moved(memory.starts, device))
        starts, position_ids = _moved(self.starts, device), _moved(self.position_ids, device)
        visible = None if self.visible is None else _moved(self.visible, device)
        return replace(self, starts=starts, position_ids=position_ids, memory=memory, visible=visible)


def _moved(host: Int[Tensor, " _"], device: torch.device) -> Int[Tensor, " _"]:
    return host.to(device, non_blocking=True)  # pageable memory is read before the call returns


def _visible(
    positions: Sequence[Int[Tensor, " _"]], lengths: Sequence[int], grid_block: int | None
) -> Int[Tensor, " T"] | None:
    """Keys that the tokens at `positions` of canvases of these lengths see."""
    if grid_block is None:
        return None
    ends = [
        torch.clamp((own // grid_block + 1) * grid_block, max=length)
        for own, length in zip(positions, lengths, strict=True)
    ]
    return torch.cat(ends).int()
