"""Whether a network's layers are exactly what `fused.py` computes; kept apart from it, as it needs no Triton."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaDecoderLayer, LlamaMLP, LlamaRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2DecoderLayer, Qwen2MLP, Qwen2RMSNorm


LAYERS = (LlamaDecoderLayer, Qwen2DecoderLayer)
ATTENTIONS = (LlamaAttention, Qwen2Attention)
MLPS = (LlamaMLP, Qwen2MLP)
NORMS = (LlamaRMSNorm, Qwen2RMSNorm)
"""Norms of which it is known that they are `weight * x / rms(x)`."""


def fusable(network: Any) -> bool:
    """Whether the body computes what fused layers do: RMS norms, gated SiLU, no bias but on queries, keys and values.

    Only these very classes in the network's own dtype count. Quantised and adapted layers derive from `nn.Linear` too,
    but their weights alone do not say what they compute.
    """
    config, body = network.config, network.model
    norms = [
        body.norm,
        *(norm for layer in body.layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)),
    ]
    return (
        config.hidden_act in ("silu", "swish")
        and type(body.embed_tokens) is nn.Embedding
        and all(type(norm) in NORMS and norm.variance_epsilon == config.rms_norm_eps for norm in norms)
        and all(map(_is_plain, body.layers))
        and all(weight.dtype == network.dtype for weight in _weights(body))
    )


def _is_plain(layer: Any) -> bool:
    attention, mlp = layer.self_attn, layer.mlp
    if type(layer) not in LAYERS or type(attention) not in ATTENTIONS or type(mlp) not in MLPS:
        return False
    inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
    others = (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    return (
        all(type(part) is nn.Linear for part in (*inputs, *others))
        and all(part.bias is None for part in others)
        and len({part.bias is None for part in inputs}) == 1
        and attention.head_dim >= 16  # the least that a matrix unit takes
        and attention.head_dim & (attention.head_dim - 1) == 0
    )


def _weights(body: Any) -> Iterator[torch.Tensor]:
    return (weight for part in (body.embed_tokens, body.layers, body.norm) for weight in part.parameters())
