"""Networks of a given shape with random weights, made on the device: what is timed needs no checkpoint."""

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lm_eval_mdlm.backbones.attention import best_attention
from lm_eval_mdlm.backbones.backbone import SpecialTokens
from lm_eval_mdlm.backbones.packed import PackedBackbone


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a LLaDA-like network."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocab: int


SHAPES = {
    "llada-8b": Shape(hidden=4096, layers=32, heads=32, ffn=12288, vocab=126464),
    "llada-head": Shape(hidden=256, layers=2, heads=4, ffn=512, vocab=126464),  # LLaDA's vocabulary, a small body
    "medium-head": Shape(hidden=256, layers=2, heads=4, ffn=512, vocab=60000),
    "small": Shape(hidden=256, layers=8, heads=8, ffn=768, vocab=8192),
    "tiny": Shape(hidden=64, layers=2, heads=4, ffn=128, vocab=512),
    "demo": Shape(hidden=192, layers=6, heads=6, ffn=512, vocab=480),  # of the packaged checkpoint
}


def random_network(shape: Shape, device: str, dtype: torch.dtype) -> LlamaForCausalLM:
    """A network of this shape whose weights are small random numbers."""
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
        is_causal=False,
        use_cache=False,
        attn_implementation=best_attention(torch.device(device), dtype),
    )
    torch.manual_seed(0)
    with torch.device(device):
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return LlamaForCausalLM(config).eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(default)


def random_backbone(shape: Shape, device: str, dtype: torch.dtype, *, float32_rope: bool = True) -> PackedBackbone:
    """A backbone of this shape whose weights are small random numbers."""
    network = random_network(shape, device, dtype)
    return backbone_of(network, shape, torch.device(device), float32_rope=float32_rope)


def backbone_of(
    network: LlamaForCausalLM, shape: Shape, device: torch.device, *, float32_rope: bool = True
) -> PackedBackbone:
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
    )
