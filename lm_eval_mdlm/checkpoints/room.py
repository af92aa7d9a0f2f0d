"""What is said where a checkpoint is loaded and memory runs out."""

import contextlib
from collections.abc import Iterator

from ..backbones.shortage import is_out_of_memory
from ..errors import UsageError
from .placement import Placement


@contextlib.contextmanager
def in_given_room(source: str, placement: Placement, way_out: str) -> Iterator[None]:
    """A lack of memory within becomes a UsageError in one line.

    Args:
        source: The checkpoint, as the user named it.
        placement: Where its network goes.
        way_out: Which options take less of it there.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UsageError) or not is_out_of_memory(error):
            raise
        raise UsageError(
            f"{source}: the weights and a first pass do not fit on {placement.device} as {placement.dtype}; {way_out}, "
            f"or free memory there."
        ) from None
