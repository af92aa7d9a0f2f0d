"""The region cut into consecutive blocks, of which only the leftmost unfinished one is open."""

from collections.abc import Iterable


def split_into_blocks(masked: Iterable[int], block_length: int) -> list[list[int]]:
    """Masked positions by block, left to right.

    Blocks are laid over the region by position, fixed tokens included; a block that holds no mask is left out,
    so it costs no step. The last block may be shorter; `block_length >= gen_length` gives one block.

    Args:
        masked: Positions in the region that hold a mask, ascending.
        block_length: Positions per block, at least 1.
    """
    blocks: dict[int, list[int]] = {}
    for position in masked:
        blocks.setdefault(position // block_length, []).append(position)
    return list(blocks.values())
