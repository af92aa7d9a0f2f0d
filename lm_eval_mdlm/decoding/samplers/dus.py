"""DUS: every block by the same schedule, from positions far apart to those between them.

Source: arXiv:2506.19037.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..policy import Decision, DecodingPolicy
from ..scores import Candidates


@dataclass(frozen=True)
class Schedule:
    """Of one block of one row."""

    start: int
    """The block's, to tell it from others."""
    levels: tuple[tuple[int, ...], ...]
    """Positions of each pass, those that were masks when the block opened; none is empty."""


@dataclass(frozen=True)
class DilatedSchedule(DecodingPolicy):
    """A pass for each level of a block, whatever the network says.

    Levels: multiples of the stride, counted from the block's start, that no earlier level has; the stride is the
    block's length over 2 to the power of `skip` at first, and half of it, rounded down, for each further level. A last
    level with fewer positions than the one before joins it. A pass fills the masks of its level; but in the last
    one, those with a confidence below `remask_below` stay masks. The source leaves them in its output; here the last
    pass also fills all that are left, so that no pass is added.
    """

    skip: int = 1
    remask_below: float = 0.3

    @property
    def may_pause(self) -> bool:
        return True  # where nothing of a level is sure enough

    def most_steps(self, num_masks: int) -> int | None:
        return num_masks  # no level is empty

    def focus(self, candidates: Candidates) -> Candidates:
        memories = tuple(self._schedule(candidates, row) for row in range(len(candidates.memories)))
        inside = torch.zeros_like(candidates.eligible)
        for row, (schedule, step) in enumerate(zip(memories, candidates.block_step.tolist(), strict=True)):
            inside[row] = (
                torch.isin(candidates.position[row], torch.tensor(schedule.levels[step]))
                if step < len(schedule.levels) - 1
                else True
            )
        return replace(candidates, eligible=candidates.eligible & inside, memories=memories)

    def decide(self, candidates: Candidates) -> Decision:
        candidates = self.focus(candidates)
        last = torch.tensor([len(schedule.levels) - 1 for schedule in candidates.memories])
        stays = (candidates.confidence < self.remask_below) & (candidates.block_step < last)[:, None]
        return Decision(candidates.eligible & ~stays, candidates.memories)

    def _schedule(self, candidates: Candidates, row: int) -> Schedule:
        start, memory = int(candidates.block_start[row]), candidates.memories[row]
        if memory is not None and memory.start == start:
            known: Schedule = memory
            return known
        masks = set(candidates.position[row][candidates.eligible[row]].tolist())
        own = [
            tuple(start + offset for offset in level if start + offset in masks)
            for level in dilated_levels(int(candidates.block_length[row]), self.skip)
        ]
        return Schedule(start, tuple(level for level in own if level))


def dilated_levels(length: int, skip: int) -> list[Sequence[int]]:
    """Offsets of a block of `length` positions, level by level."""
    levels: list[Sequence[int]] = []
    left, stride = list(range(length)), (length >> skip) or 1
    while left:
        levels.append([offset for offset in left if offset % stride == 0])
        left = [offset for offset in left if offset % stride]
        stride //= 2
    if len(levels) > 1 and len(levels[-1]) < len(levels[-2]):
        levels[-2:] = [[*levels[-2], *levels[-1]]]
    return levels
