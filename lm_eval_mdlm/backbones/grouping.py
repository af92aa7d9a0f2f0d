"""Which canvases a network that knows only rectangles takes in one pass, and how long the rectangle is.

What a canvas meets depends on its own length alone: the length that it is filled up to, and whether there is a mask.
Mates change only how many rows the rectangle has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Shape(NamedTuple):
    """Of a rectangle of canvases."""

    length: int
    """Tokens of each, padding included."""
    padded: bool
    """Whether there is padding behind every one of them, and so a mask."""


class Group(NamedTuple):
    """Canvases of one pass."""

    shape: Shape
    members: list[int]
    """Places of the canvases among those asked for."""


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """A way to put canvases into rectangles."""

    multiple: int | None = None
    """Lengths are filled up to multiples of this, by at least one position, so that every pass has a mask and all
    run by the same kernels; None to run canvases of equal length together as they are, without a mask."""
    alone: bool = False
    """Run every canvas by itself."""
    most_tokens: int | None = None
    """Of a rectangle with several canvases; None to leave that to whoever asks for them."""

    def shape_of(self, length: int, longest: int) -> Shape:
        """The rectangle of a canvas of `length` tokens, where none may have more than `longest`."""
        if self.multiple is None or length >= longest:
            return Shape(length, padded=False)
        return Shape(min(math.ceil((length + 1) / self.multiple) * self.multiple, longest), padded=True)

    def groups(self, lengths: Sequence[int], longest: int) -> list[Group]:
        """All canvases, each in one group, in the order of their first members."""
        found: dict[tuple[Shape, int], list[int]] = {}
        for place, length in enumerate(lengths):
            found.setdefault((self.shape_of(length, longest), place if self.alone else 0), []).append(place)
        return [
            Group(shape, members[start : start + size])
            for (shape, _), members in found.items()
            for size in [self._most_members(shape, len(members))]
            for start in range(0, len(members), size)
        ]

    def _most_members(self, shape: Shape, number: int) -> int:
        return number if self.most_tokens is None else max(1, self.most_tokens // shape.length)
