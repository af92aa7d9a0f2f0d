"""Whether a network's layers are exactly what `fused.py` computes; kept apart from it, as it needs no Triton."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.models.glm4_moe import modeling_glm4_moe as glm4_moe
from transformers.models.llama import modeling_llama as llama
from transformers.models.qwen2 import modeling_qwen2 as qwen2
from transformers.models.qwen3 import modeling_qwen3 as qwen3
from transformers.models.qwen3_moe import modeling_qwen3_moe as qwen3_moe

from .own_kernel import fits


LAYERS = {
    llama.LlamaDecoderLayer: llama.LlamaAttention,
    qwen2.Qwen2DecoderLayer: qwen2.Qwen2Attention,
    qwen3.Qwen3DecoderLayer: qwen3.Qwen3Attention,
    qwen3_moe.Qwen3MoeDecoderLayer: qwen3_moe.Qwen3MoeAttention,
    glm4_moe.Glm4MoeDecoderLayer: glm4_moe.Glm4MoeAttention,
}
"""Layers and the attention of each."""
MLPS = (llama.LlamaMLP, qwen2.Qwen2MLP, qwen3.Qwen3MLP, qwen3_moe.Qwen3MoeMLP, glm4_moe.Glm4MoeMLP)
EXPERTS = {
    qwen3_moe.Qwen3MoeSparseMoeBlock: (qwen3_moe.Qwen3MoeTopKRouter, qwen3_moe.Qwen3MoeExperts),
    glm4_moe.Glm4MoeMoE: (glm4_moe.Glm4MoeTopkRouter, glm4_moe.Glm4MoeExperts),
}
"""Modules with experts; their router, which returns logits, weights and choice, and experts of stacked weights."""
NORMS = (
    *(llama.LlamaRMSNorm, qwen2.Qwen2RMSNorm, qwen3.Qwen3RMSNorm),
    *(qwen3_moe.Qwen3MoeRMSNorm, glm4_moe.Glm4MoeRMSNorm),
)
"""Norms of which it is known that they are `weight * x / rms(x)`."""


def fusable(network: Any) -> bool:
    """Whether the body computes what fused layers do: RMS norms, gated SiLU, no bias but on queries, keys and values.

    Only these very classes in the network's own dtype count. Quantised and adapted layers derive from `nn.Linear` too,
    but their weights alone do not say what they compute.
    """
    config, body = network.config, network.model
    turned = 2 * len(body.rotary_emb.inv_freq)
    return (
        config.hidden_act in ("silu", "swish")
        and type(body.embed_tokens) is nn.Embedding
        and all(type(norm) in NORMS and norm.variance_epsilon == config.rms_norm_eps for norm in _norms(body))
        and all(_is_plain(layer, turned) for layer in body.layers)
        and all(weight.dtype == network.dtype for weight in _weights(body))
    )


def _is_plain(layer: Any, turned: int) -> bool:
    """Whether it is a plain layer, the first `turned` numbers of whose heads are rotated."""
    attention = layer.self_attn
    if type(attention) is not LAYERS.get(type(layer)) or not _is_plain_mlp(layer.mlp):
        return False
    inputs, width = (attention.q_proj, attention.k_proj, attention.v_proj), attention.head_dim
    return (
        _are_linear((*inputs, attention.o_proj))
        and attention.o_proj.bias is None
        and len({part.bias is None for part in inputs}) == 1
        and fits(width)
        and _is_power_of_two(turned)
        and turned <= width
    )


def _is_plain_mlp(mlp: Any) -> bool:
    if type(mlp) in MLPS:
        parts = (mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        return _are_linear(parts) and all(part.bias is None for part in parts)
    if type(mlp) not in EXPERTS or hasattr(mlp, "route_tokens_to_experts"):  # as older routers leave the choice to it
        return False
    shared = getattr(mlp, "shared_experts", None)
    return (type(mlp.gate), type(mlp.experts)) == EXPERTS[type(mlp)] and (shared is None or _is_plain_mlp(shared))


def _are_linear(parts: Any) -> bool:
    return all(type(part) is nn.Linear for part in parts)


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def _norms(body: Any) -> Iterator[Any]:
    yield body.norm
    for layer in body.layers:
        yield from (layer.input_layernorm, layer.post_attention_layernorm)
        if hasattr(layer.self_attn, "q_norm"):
            yield from (layer.self_attn.q_norm, layer.self_attn.k_norm)


def _weights(body: Any) -> Iterator[torch.Tensor]:
    return (weight for part in (body.embed_tokens, body.layers, body.norm) for weight in part.parameters())
