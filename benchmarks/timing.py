"""Clocks, and what the machine can do at most: the rate of a large matrix product, and of a large copy."""

import itertools
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.report import Measurement


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, action: Callable[[], object]) -> float:
    """Wall time of one call, from an idle device to an idle device."""
    synchronize(device)
    start = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - start


def repeated(device: torch.device, action: Callable[[], object], repeats: int, warmup: int = 2) -> Measurement:
    """Seconds of each of several calls in a row.

    On a GPU between events in its own queue, so that only launches too slow to keep it busy add to its work.
    """
    for _ in range(warmup):
        action()
    if device.type != "cuda":
        return Measurement(tuple(seconds(device, action) for _ in range(repeats)))
    synchronize(device)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]  # type: ignore[no-untyped-call]
    events[0].record()
    for event in events[1:]:
        action()
        event.record()
    synchronize(device)
    return Measurement(tuple(a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(events)))


@torch.inference_mode()
def matmul_peak(device: torch.device, dtype: torch.dtype, repeats: int = 10) -> Measurement:
    """FLOP/s of one large matrix product: 8192 cubed on a GPU, 1024 cubed on a CPU."""
    side = 8192 if device.type == "cuda" else 1024
    # Random entries: a GPU draws less power on constants, and runs faster.
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return repeated(device, lambda: a @ b, repeats).per(2 * side**3)


@torch.inference_mode()
def copy_bandwidth(device: torch.device, repeats: int = 10) -> Measurement:
    """Bytes per second of a large copy, read and written bytes both counted."""
    size = 2**30 if device.type == "cuda" else 2**27
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return repeated(device, lambda: target.copy_(source), repeats).per(2 * size)


@torch.inference_mode()
def linear_seconds(weight: Tensor, num_rows: int, repeats: int) -> Measurement:
    """Seconds of one product of `num_rows` random rows with a weight."""
    rows = torch.randn(num_rows, weight.shape[1], device=weight.device, dtype=weight.dtype)
    return repeated(weight.device, lambda: linear(rows, weight), repeats)
