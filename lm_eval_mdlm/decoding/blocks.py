"""The region cut into consecutive blocks, of which only the leftmost unfinished one is open."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Blocks:
    """Blocks that are laid over the region by position, fixed tokens included; the last one may be shorter.

    Every token sees its whole canvas, so that each pass holds all of it.
    """

    length: int
    """Positions per block, at least 1; as many as the region or more give one block."""
    lead: int = 0
    """Positions of the first block that stand before the region, from 0 to `length` - 1."""

    def number(self, position: int) -> int:
        """Of the block that a position of the region is in, from 0."""
        return (position + self.lead) // self.length

    def start(self, number: int) -> int:
        """Position of the region at which a block begins; below 0 where that is before the region."""
        return number * self.length - self.lead

    def span(self, number: int, region_length: int) -> tuple[int, int]:
        """First position of a block that lies in the region, and the one behind its last."""
        return max(self.start(number), 0), min(self.start(number + 1), region_length)

    def split(self, masked: Iterable[int]) -> list[list[int]]:
        """Masked positions by block, left to right; a block that holds no mask is left out, so it costs no step.

        Args:
            masked: Positions in the region that hold a mask, ascending.
        """
        blocks: dict[int, list[int]] = {}
        for position in masked:
            blocks.setdefault(self.number(position), []).append(position)
        return list(blocks.values())
