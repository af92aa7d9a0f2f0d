"""Weights that are spread over the processes of a run (FSDP2), and gathering them again."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor


def plugin_options(network: nn.Module, *, bfloat16: bool) -> dict[str, Any]:
    """Of accelerate's plugin: every decoder layer is gathered for its own pass and let go after it.

    Passes in bfloat16 gather weights in it; gradients are summed, and the optimiser steps, in float32. Layers' inputs
    are left as they are: rotations are computed in the precision of their tables, which may be float32.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bfloat16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    return {
        "fsdp_version": 2,
        "auto_wrap_policy": "transformer_based_wrap",
        "transformer_cls_names_to_wrap": sorted(network._no_split_modules),  # type: ignore[arg-type]
        "reshard_after_forward": True,
        "state_dict_type": "SHARDED_STATE_DICT",
        "cpu_ram_efficient_loading": False,
        "mixed_precision_policy": policy,
    }


def spread_again(model: nn.Module) -> None:
    """Let go of the weights that stay gathered after a pass without a backward one; nothing if none are spread."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local(weight: Tensor) -> Tensor:
    """This process's part of a weight, sharing its memory; all of a weight that is not spread."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def whole(weight: Tensor) -> Tensor:
    """All of a weight; every process has to ask for it at the same time."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def sharded_like(weight: Tensor, other: Tensor) -> Tensor:
    """A whole weight, which all processes hold, spread as `other` is."""
    if not isinstance(other, DTensor):
        return weight
    return distribute_tensor(weight.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def gathered(weights: Mapping[str, Tensor], *, keep: bool, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Whole weights on the CPU, gathered one at a time by all processes; empty where they are not kept."""
    kept = {}
    for name, weight in weights.items():
        complete = whole(weight.detach())
        if keep:
            kept[name] = complete.to("cpu", dtype or complete.dtype).contiguous()
    return kept
