"""Networks of a given shape with random weights, made on the device: what is timed needs no checkpoint."""

from typing import Any

import torch

from benchmarks.shapes import SHAPES, Shape, config_of
from lm_eval_mdlm.backbones.attention import best_attention
from lm_eval_mdlm.backbones.backbone import SpecialTokens
from lm_eval_mdlm.backbones.packed import PackedBackbone


__all__ = ["SHAPES", "Shape", "backbone_of", "random_backbone", "random_network"]


def random_network(shape: Shape, device: str, dtype: torch.dtype) -> Any:
    """A network of this shape whose weights are small random numbers."""
    kind, config = config_of(shape, attn_implementation=best_attention(torch.device(device), dtype))
    torch.manual_seed(0)
    with torch.device(device):
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return kind(config).eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(default)


def random_backbone(shape: Shape, device: str, dtype: torch.dtype, *, float32_rope: bool = True) -> PackedBackbone:
    """A backbone of this shape whose weights are small random numbers."""
    network = random_network(shape, device, dtype)
    return backbone_of(network, shape, torch.device(device), float32_rope=float32_rope)


def backbone_of(network: Any, shape: Shape, device: torch.device, *, float32_rope: bool = True) -> PackedBackbone:
    """A backbone over a network of this shape, whose last two ids are the special tokens."""
    return PackedBackbone(
        network,
        family="random",
        tokens=SpecialTokens(mask_token_id=shape.vocab - 1, end_token_ids=(shape.vocab - 2,), bos_token_id=None),
        tokenizer=None,
        shift=False,
        float32_rope=float32_rope,
        device=device,
        description={"family": "random", "shape": str(shape)},
        grid_block=shape.grid_block,
    )
