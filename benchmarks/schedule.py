"""What `fixed_k` must do, from its options alone: how many passes, and how many rows of logits in each."""

from collections.abc import Sequence

from benchmarks.flops import pass_flops, spared_flops
from benchmarks.networks import Shape


def wanted_by_k(num_masks: int, block_length: int, k: int) -> list[int]:
    """Masked positions of the current block before each pass that commits k of them; the last one of a block fewer."""
    blocks = [min(block_length, num_masks - start) for start in range(0, num_masks, block_length)]
    return [left for block in blocks for left in range(block, 0, -k)]


def wanted_by_steps(num_masks: int, steps: int) -> list[int]:
    """The same for one block filled in `steps` passes as evenly as can be, the larger ones first."""
    each, more = divmod(num_masks, steps)
    return [num_masks - each * step - min(step, more) for step in range(steps)]


def decode_flops(shape: Shape, canvas: int, wanted: Sequence[int]) -> int:
    """Operations of all passes of one row: the whole canvas every time, logits where they are wanted."""
    return sum(pass_flops(shape, [canvas], num_wanted) for num_wanted in wanted)


def decode_spared(shape: Shape, canvas: int, wanted: Sequence[int]) -> int:
    """Of these operations, those of the last layer that no logits need."""
    return sum(spared_flops(shape, [canvas], [num_wanted]) for num_wanted in wanted)
