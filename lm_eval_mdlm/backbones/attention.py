"""Attention over packed canvases, bidirectional or block-causal, as attention functions of transformers.

Registered under names that have no mask function, so that transformers builds no mask at all: which tokens see each
other is said by `canvas_starts` and `canvas_lengths`, and in block-causal networks by `visible` and `sights`, which
reach these functions as keywords of a layer's call.
"""

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from .memory import MemoryLayout
from .own_kernel import own_attention


VARLEN = "mdlm_packed_varlen"
"""One kernel for all canvases; needs a GPU of compute capability 8.0 or more and bfloat16 or float16."""
SDPA = "mdlm_packed_sdpa"
"""One call per canvas; runs anywhere."""


def best_attention(device: torch.device, dtype: torch.dtype) -> str:
    """Name of the fastest attention function that `device` has for `dtype`."""
    half = dtype in (torch.bfloat16, torch.float16)
    # Checked in this order because asking for the capability starts the GPU's driver.
    return VARLEN if half and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0) else SDPA


def packed_sdpa(
    module: torch.nn.Module,
    query: Float[Tensor, "1 Hq T D"],
    key: Float[Tensor, "1 Hkv T D"],
    value: Float[Tensor, "1 Hkv T D"],
    attention_mask: None = None,
    *,
    canvas_lengths: Sequence[int],
    memory: MemoryLayout | None = None,
    sights: Sequence[Sequence[tuple[int, int]]] | None = None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 T Hq D"], None]:
    """Attention inside each canvas, by one call of torch's own for each run of tokens that see alike."""
    # Rotation in float32 leaves queries and keys wider than values.
    query, key = query.to(value.dtype), key.to(value.dtype)
    key_lengths = canvas_lengths
    if memory is not None:
        written = memory.memory.write(module.layer_idx, memory.places, *_by_token(key, value))  # type: ignore[arg-type]
        key, value = (part.transpose(0, 1)[None] for part in written)
        key_lengths = memory.lengths
    sees = functools.partial(scaled_dot_product_attention, scale=scaling, enable_gqa=query.shape[1] != key.shape[1])
    lengths = (canvas_lengths, key_lengths, key_lengths)
    parts = (torch.split(part, list(own), dim=2) for part, own in zip((query, key, value), lengths, strict=True))
    mixed: list[Tensor] = []
    for canvas, (q, k, v) in enumerate(zip(*parts, strict=True)):
        # Each run by itself, rather than a mask: its bits are then those of a pass over that run alone.
        runs = sights[canvas] if sights is not None else ((q.shape[2], k.shape[2]),)
        if q.shape[2]:
            queries = torch.split(q, [count for count, _ in runs], dim=2)
            mixed += [sees(own, k[:, :, :keys], v[:, :, :keys]) for own, (_, keys) in zip(queries, runs, strict=True)]
    return torch.cat(mixed, dim=2).transpose(1, 2).contiguous(), None


def packed_varlen(
    module: torch.nn.Module,
    query: Float[Tensor, "1 Hq T D"],
    key: Float[Tensor, "1 Hkv T D"],
    value: Float[Tensor, "1 Hkv T D"],
    attention_mask: None = None,
    *,
    canvas_starts: Int[Tensor, " boundaries"],
    longest_canvas: int,
    memory: MemoryLayout | None = None,
    visible: Int[Tensor, " T"] | None = None,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Float[Tensor, "1 T Hq D"], None]:
    """Attention inside each canvas, by one variable-length kernel: torch's, or the own one if keys are hidden."""
    width = query.shape[-1]
    own = None if visible is None else own_attention(value.device, value.dtype, width)
    if visible is not None and own is None:
        return packed_sdpa(module, query, key, value, memory=memory, scaling=scaling, **more)
    q, k, v = _by_token(query.to(value.dtype), key.to(value.dtype), value)
    # Newer versions of torch have to be told of grouped heads; older ones see them from the shapes.
    grouped: dict[str, Any] = {"enable_gqa": True} if _TOLD_OF_GROUPS and q.shape[1] != k.shape[1] else {}
    key_starts, longest_key = canvas_starts, longest_canvas
    if memory is not None:
        k, v = memory.memory.write(int(module.layer_idx), memory.places, k, v)  # type: ignore[arg-type]
        key_starts, longest_key = memory.starts, memory.longest
    if own is not None:
        scale = width**-0.5 if scaling is None else scaling
        return own(q, k, v, canvas_starts, key_starts, longest_canvas, scale=scale, visible=visible)[None], None
    longest = (longest_canvas, longest_key)
    mixed: Any = varlen_attn(q, k, v, canvas_starts, key_starts, *longest, scale=scaling, **grouped)
    return mixed[None], None


def _by_token(*parts: Float[Tensor, "1 _ T D"]) -> list[Float[Tensor, "T _ D"]]:
    return [part[0].transpose(0, 1) for part in parts]


_TOLD_OF_GROUPS = "enable_gqa" in inspect.signature(varlen_attn).parameters
AttentionInterface.register(VARLEN, packed_varlen)
AttentionInterface.register(SDPA, packed_sdpa)
