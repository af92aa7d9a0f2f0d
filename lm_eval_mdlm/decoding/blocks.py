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

    def reach(self, number: int, region_length: int) -> int:
        """How many positions of the region a pass holds that asks for those of this block."""
        return region_length

    def stretches(self, length: int) -> list[tuple[int, int]]:
        """A text in the region's place, cut into what is scored at a time: first positions, and those behind the last.

        None of them depends on what is behind it.
        """
        return [(0, length)]


@dataclass(frozen=True)
class GridBlocks(Blocks):
    """Blocks of a grid that begins at the canvas's first token, none of which sees a later one.

    The first one may share its place on the grid with the last tokens of the prompt.
    """

    @classmethod
    def after(cls, prompt_length: int, length: int) -> "GridBlocks":
        """For a region behind a prompt of so many tokens."""
        return cls(length, prompt_length % length)

    def reach(self, number: int, region_length: int) -> int:
        """See `Blocks`: what is behind the block is not seen."""
        return self.span(number, region_length)[1]

    def stretches(self, length: int) -> list[tuple[int, int]]:
        """See `Blocks`."""
        return [self.span(number, length) for number in range(self.number(length - 1) + 1)]
