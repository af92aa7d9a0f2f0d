"""How a lack of memory is told from every other error."""

import torch


WORDS = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
"""Of libraries below torch, of recordings, and of torch itself on a CPU: they raise plain RuntimeErrors."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it was raised on top of, says that there is no memory left."""
    told = isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in WORDS)
    # What ends a recording complains that the recording is broken, while the error that broke it is being handled.
    return told or (error.__context__ is not None and is_out_of_memory(error.__context__))
