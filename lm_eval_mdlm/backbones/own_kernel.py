"""The own attention kernel for layers that are not fused: torch has none for packed block-causal canvases."""

import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .one_line import in_one_line
from .shortage import is_out_of_memory


logger = logging.getLogger(__name__)
LEAST_WIDTH = 16
"""Of a head: the least that a matrix unit takes."""


def fits(head_width: int) -> bool:
    """Whether the kernel takes heads of this width."""
    return head_width >= LEAST_WIDTH and head_width & (head_width - 1) == 0


@functools.cache
def own_attention(device: torch.device, dtype: torch.dtype, head_width: int) -> Callable[..., Any] | None:
    """`attend_any` if Triton can run it there; None, and a line once, if not."""
    reason = _why_not(device, dtype, head_width)
    if reason is None:
        return attend_any
    logger.warning("Block-causal attention runs stretch by stretch, and slowly: %s.", reason)
    return None


def attend_any(
    query: Float[Tensor, "T Hq D"],
    key: Float[Tensor, "P Hkv D"],
    value: Float[Tensor, "P Hkv D"],
    starts: Int[Tensor, " boundaries"],
    key_starts: Int[Tensor, " boundaries"],
    longest: int,
    *,
    scale: float,
    visible: Int[Tensor, " T"],
) -> Float[Tensor, "T Hq D"]:
    """`attention_kernel.attend` for tensors of any strides."""
    from .attention_kernel import attend  # needs Triton, which only builds of torch for GPUs bring along

    q, k, v = (part if part.stride()[1:] == (part.shape[2], 1) else part.contiguous() for part in (query, key, value))
    with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]
        mixed: Tensor = attend(q, k, v, starts, key_starts, longest, scale=scale, visible=visible)
    return mixed


def _why_not(device: torch.device, dtype: torch.dtype, head_width: int) -> str | None:
    if not fits(head_width):
        return f"heads of width {head_width} are no power of two from {LEAST_WIDTH} on"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    token = torch.zeros(1, 1, head_width, dtype=dtype, device=device)
    starts = torch.tensor([0, 1], dtype=torch.int32, device=device)
    try:
        attend_any(token, token, token, starts, starts, 1, scale=1.0, visible=starts[1:])
    except Exception as error:  # Triton passes on whatever its C compiler, linker or driver says
        if is_out_of_memory(error):
            raise
        return f"Triton cannot run its kernel here ({in_one_line(error)})"
    return None
