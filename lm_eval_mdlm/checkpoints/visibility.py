"""The grid of a block-causal checkpoint: how many positions one of its blocks has."""

import logging
import re
from pathlib import Path

from ..errors import UsageError
from .families.family import Family
from .raw_config import RawConfig


logger = logging.getLogger(__name__)
IN_NAME = re.compile(r"(?:^|[-_.])b(\d+)(?=[-_.]|$)", re.IGNORECASE)
"""How published names state a block of the grid: `SDAR-8B-Chat-b32`."""


def grid_block_of(family: Family, raw: RawConfig, pretrained: str, given: int | None) -> int | None:
    """Positions of a grid block; None where every token sees its whole canvas.

    It is the option's, else the config's `block_size`, else the one that all checkpoints of the family have, else what
    the checkpoint's name says, with a line.

    Args:
        family: Of the checkpoint.
        raw: Its config.json.
        pretrained: Its name as the user wrote it.
        given: The option `grid_block`.

    Raises:
        UsageError: For an option in a family that sees everything, for two of option, config and name that contradict
            each other, and if none of the sources tells.
    """
    if not family.block_causal:
        if given is not None:
            raise UsageError(
                f"grid_block={given} is for block-causal families, and {family.name} sees the whole canvas at once; "
                f"leave it unset."
            )
        return None
    configured = None if raw.values.get("block_size") is None else raw.integer("block_size")
    named = block_in_name(pretrained)
    stated = {"grid_block": given, f"block_size of {raw.path}": configured, f"the name {pretrained!r}": named}
    told = {where: size for where, size in stated.items() if size is not None}
    if len(set(told.values())) > 1:
        sizes = ", ".join(f"{size} by {where}" for where, size in told.items())
        raise UsageError(
            f"grid_block must be the one that the checkpoint was trained with, got {sizes}; correct what is wrong, or "
            f"rename a folder whose name means something else."
        )
    if given not in (None, family.usual_grid_block) and family.usual_grid_block is not None:
        logger.warning(
            "grid_block=%d: %s has %d in its published checkpoints.", given, family.name, family.usual_grid_block
        )
    if given is not None or configured is not None:
        return given if given is not None else configured
    if family.usual_grid_block is not None:
        return _usual(family, family.usual_grid_block, named, pretrained)
    if named is None:
        raise UsageError(
            f"{raw.path}: grid_block must be known, and neither the config nor the name {pretrained!r} tells it; give "
            f"grid_block=N, the block size that the checkpoint was trained with."
        )
    logger.warning("grid_block=%d is taken from the name %s, as no config of this family states it.", named, pretrained)
    return named


def _usual(family: Family, usual: int, named: int | None, pretrained: str) -> int:
    if named is not None and named != usual:
        raise UsageError(
            f"grid_block is {usual} in {family.name} checkpoints, and the name {pretrained!r} says {named}; give "
            f"grid_block=N, or rename a folder whose name means something else."
        )
    return usual


def block_in_name(pretrained: str) -> int | None:
    """The block size that a checkpoint's name states, such as 32 in `SDAR-8B-Chat-b32`; None if it states none.

    Args:
        pretrained: A hub id or a folder, also one of the hub client's cache.
    """
    path = Path(pretrained)
    parts = [path.name, *(part for part in path.parts if part.startswith("models--"))]
    found = {int(size) for part in parts for size in IN_NAME.findall(part)}
    return found.pop() if len(found) == 1 and 0 not in found else None
