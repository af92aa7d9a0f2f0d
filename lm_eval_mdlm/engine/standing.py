"""How far a region has been filled: its masks, and the block that is open."""

import numpy as np
from numpy.typing import NDArray

from ..decoding.blocks import Blocks
from ..decoding.policy import Progress


class Standing:
    """Of one live row, which changes it."""

    def __init__(self, masked: NDArray[np.bool_], blocks: Blocks) -> None:
        """(region,) where masks are at the start, and how the region is cut."""
        self.masked, self.free = masked, masked.copy()
        """Masks now, and positions that were masks at the start: all others are fixed text or a given answer."""
        self.step = 0
        """Passes since the current block opened."""
        self._blocks = blocks
        self._with_masks = [np.array(block) for block in blocks.split(np.flatnonzero(masked).tolist())]
        self._current = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be filled."""
        return self._current == len(self._with_masks)

    @property
    def num_blocks(self) -> int:
        """Blocks that held masks at the start."""
        return len(self._with_masks)

    @property
    def num_masks(self) -> int:
        """Masks at the start."""
        return int(self.free.sum())

    @property
    def share_committed(self) -> float:
        """Of the masks at the start, those that are filled; from 0 to 1."""
        return 1 - int(self.masked.sum()) / max(self.num_masks, 1)

    @property
    def block(self) -> NDArray[np.int64]:
        """Positions of the masks that the current block held when it opened, ascending."""
        return self._with_masks[self._current]

    @property
    def block_number(self) -> int:
        """Of the current block, among all that the region is cut into."""
        return self._blocks.number(int(self.block[0]))

    @property
    def span(self) -> tuple[int, int]:
        """First position of the region in the current block, and the one behind its last."""
        return self._blocks.span(self.block_number, len(self.masked))

    @property
    def num_left(self) -> int:
        """Masks that the current block still holds."""
        return int(self.masked[self.block].sum())

    def progress(self, memory: object) -> Progress:
        """As a policy sees it that left `memory` after the last pass."""
        return Progress(self.masked, self.free, self.block, memory)

    def open_next(self) -> None:
        """Go on to the next block that held masks, if there is one."""
        self._current, self.step = self._current + 1, 0
