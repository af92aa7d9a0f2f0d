"""From the host to a device without a wait."""

import torch
from jaxtyping import Int
from torch import Tensor


def on_device(numbers: Int[Tensor, "*shape"], device: torch.device) -> Int[Tensor, "*shape"]:
    """The same numbers on a device; on a GPU they are copied when all that is queued there has run."""
    if device.type != "cuda":
        return numbers.to(device)
    # A copy from memory that may be moved would have to wait for what is queued.
    return numbers.pin_memory().to(device, non_blocking=True)
