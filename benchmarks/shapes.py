"""Sizes of networks, by name."""

from dataclasses import dataclass
from typing import Any

from transformers import (
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)


@dataclass(frozen=True, kw_only=True)
class Experts:
    """Of each layer but the first ones."""

    number: int
    chosen: int
    """By each token."""
    width: int
    dense_layers: int = 0
    """The first ones, which have one MLP instead."""
    shared: int = 0
    """Experts that every token has beside the chosen ones."""
    groups: tuple[int, int] | None = None
    """Of a sigmoid router: groups of experts, and of how many of them a token chooses. None is a softmax router."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a network; without further ones a LLaDA-like one."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    """Width of the MLP that is not an expert."""
    vocab: int
    kv_heads: int | None = None
    """As many as heads if left out."""
    head_width: int | None = None
    """`hidden / heads` if left out."""
    has_head_norms: bool = False
    """Whether every head of queries and keys is normed."""
    experts: Experts | None = None
    grid_block: int | None = None
    """Of a block-causal network."""
    max_length: int = 4096

    @property
    def attention_width(self) -> int:
        """Of all heads together."""
        return self.heads * (self.head_width or self.hidden // self.heads)

    @property
    def key_width(self) -> int:
        """Of all heads of keys together."""
        return (self.kv_heads or self.heads) * (self.head_width or self.hidden // self.heads)


def config_of(shape: Shape, **more: Any) -> tuple[type[Any], PreTrainedConfig]:
    """The network of transformers of this shape, and its configuration."""
    sizes: dict[str, Any] = {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads or shape.heads,
        "head_dim": shape.attention_width // shape.heads,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": shape.max_length,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
        "tie_word_embeddings": False,
        "is_causal": False,
        "use_cache": False,
        **more,
    }
    if shape.experts is None:
        if shape.has_head_norms:
            return Qwen3ForCausalLM, Qwen3Config(**sizes)
        return LlamaForCausalLM, LlamaConfig(**sizes)
    experts = shape.experts
    sizes |= {"num_experts_per_tok": experts.chosen, "moe_intermediate_size": experts.width, "norm_topk_prob": True}
    if experts.groups is None:
        dense = {"mlp_only_layers": list(range(experts.dense_layers))}
        return Qwen3MoeForCausalLM, Qwen3MoeConfig(**sizes, **dense, num_experts=experts.number)
    sizes["rope_parameters"]["partial_rotary_factor"] = 0.5
    routing = {"n_routed_experts": experts.number, "n_group": experts.groups[0], "topk_group": experts.groups[1]}
    routing |= {"n_shared_experts": experts.shared, "first_k_dense_replace": experts.dense_layers}
    heads = {"use_qk_norm": shape.has_head_norms, "routed_scaling_factor": 2.5}
    return Glm4MoeForCausalLM, Glm4MoeConfig(**sizes, **routing, **heads)


SHAPES = {
    "llada-8b": Shape(hidden=4096, layers=32, heads=32, ffn=12288, vocab=126464),
    "sdar-8b": Shape(
        **{"hidden": 4096, "layers": 36, "heads": 32, "kv_heads": 8, "head_width": 128, "ffn": 12288, "vocab": 151936},
        **{"has_head_norms": True, "grid_block": 4},
    ),
    "sdar-30b-a3b": Shape(
        **{"hidden": 2048, "layers": 48, "heads": 32, "kv_heads": 4, "head_width": 128, "ffn": 6144, "vocab": 151936},
        **{"has_head_norms": True, "grid_block": 4, "experts": Experts(number=128, chosen=8, width=768)},
    ),
    "llada-moe": Shape(
        **{"hidden": 2048, "layers": 16, "heads": 16, "ffn": 8192, "vocab": 157184},
        **{"has_head_norms": True, "experts": Experts(number=64, chosen=8, width=1024)},
    ),
    "llada2-mini": Shape(
        **{"hidden": 2048, "layers": 20, "heads": 16, "kv_heads": 4, "head_width": 128, "ffn": 5120, "vocab": 157184},
        **{"has_head_norms": True, "grid_block": 32},
        experts=Experts(number=256, chosen=8, width=512, dense_layers=1, shared=1, groups=(8, 4)),
    ),
    "llada-head": Shape(hidden=256, layers=2, heads=4, ffn=512, vocab=126464),  # LLaDA's vocabulary, a small body
    "medium-head": Shape(hidden=256, layers=2, heads=4, ffn=512, vocab=60000),
    "small": Shape(hidden=256, layers=8, heads=8, ffn=768, vocab=8192),
    "tiny": Shape(hidden=64, layers=2, heads=4, ffn=128, vocab=512),
    "tiny-sdar": Shape(
        hidden=64, layers=2, heads=4, kv_heads=2, head_width=32, ffn=128, vocab=512, has_head_norms=True, grid_block=4
    ),
    "tiny-llada-moe": Shape(
        **{"hidden": 64, "layers": 2, "heads": 4, "ffn": 128, "vocab": 512},
        **{"has_head_norms": True, "experts": Experts(number=8, chosen=2, width=32)},
    ),
    "tiny-llada2": Shape(
        **{"hidden": 64, "layers": 3, "heads": 4, "kv_heads": 2, "head_width": 32, "ffn": 128, "vocab": 512},
        **{"has_head_norms": True, "grid_block": 8},
        experts=Experts(number=16, chosen=4, width=32, dense_layers=1, shared=1, groups=(4, 2)),
    ),
    "demo": Shape(hidden=192, layers=6, heads=6, ffn=512, vocab=480),  # of the packaged checkpoint
}
