"""The most memory that passes took, on a GPU or of the process."""

import resource
import sys

import torch


def reset_peak(device: torch.device) -> None:
    """Forget earlier peaks of a GPU. A process's own cannot be forgotten: loading counts, as it will in the run."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Most that torch has allocated on a GPU since it was reset; else the largest resident set of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def all_bytes(device: torch.device) -> int | None:
    """Of a GPU; None for other devices, whose memory is shared with everything else."""
    return int(torch.cuda.mem_get_info(device)[1]) if device.type == "cuda" else None
