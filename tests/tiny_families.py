"""The layouts of the further families for `tests.tiny`: mixture-of-experts and block-causal networks.

The configs have the keys of the published ones; sizes, ids and weights are tiny and random. No config names a block of
the grid: LLaDA2's is its family's, SDAR's has to be given, or stand in the name of the folder.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


FAMILIES = ("llada_moe", "llada2", "sdar", "sdar_moe", "stable_diffcoder")
MOE_FAMILIES = ("llada_moe", "llada2", "sdar_moe")
BLOCK_CAUSAL_FAMILIES = ("llada2", "sdar", "sdar_moe", "stable_diffcoder")
NUM_EXPERTS, EXPERTS_PER_TOKEN, EXPERT_WIDTH = 8, 2, 32
LING_TOKENS = ("<|startoftext|>", "<|endoftext|>", "[CLS]", "[gMASK]", "<|mask|>", "<role>", "</role>", "<|role_end|>")
QWEN3_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|MASK|>")
SEED_TOKENS = ("<[begin▁of▁sentence]>", "<[PAD▁TOKEN]>", "<[end▁of▁sentence]>", "<[MASK]>")
TOKENS = {
    "llada_moe": LING_TOKENS,
    "llada2": LING_TOKENS,
    "sdar": QWEN3_TOKENS,
    "sdar_moe": QWEN3_TOKENS,
    "stable_diffcoder": SEED_TOKENS,
}
LING_CHAT = (
    "{% for turn in messages %}"
    "{{ '<role>' ~ {'user': 'HUMAN'}.get(turn.role, turn.role | upper) ~ '</role>' ~ turn.content ~ '<|role_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<role>ASSISTANT</role>' }}{% endif %}"
)
QWEN3_CHAT = (
    "{% for turn in messages %}{{ '<|im_start|>' ~ turn.role ~ '\n' ~ turn.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SEED_CHAT = (
    "{% for turn in messages %}{{ bos_token ~ turn.role ~ '\n' ~ turn.content ~ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token ~ 'assistant\n' }}{% endif %}"
)
_LING = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
_LING |= {"mask_token": "<|mask|>", "chat_template": LING_CHAT, "tokenizer_class": "PreTrainedTokenizerFast"}
_QWEN3: dict[str, Any] = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "mask_token": "<|MASK|>"}
_QWEN3 |= {"chat_template": QWEN3_CHAT, "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False}
_SEED = {"bos_token": "<[begin▁of▁sentence]>", "eos_token": "<[end▁of▁sentence]>", "pad_token": "<[PAD▁TOKEN]>"}
_SEED |= {"chat_template": SEED_CHAT, "tokenizer_class": "PreTrainedTokenizerFast"}
TOKENIZER_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "llada_moe": _LING,
    "llada2": _LING,
    "sdar": _QWEN3,
    "sdar_moe": _QWEN3,
    "stable_diffcoder": _SEED,
}


def make_config(
    family: str,
    *,
    first_added: int,
    hidden: int,
    heads: int,
    layers: int,
    kv_heads: int,
    ffn: int,
    vocab: int,
    max_length: int,
    tied: bool,
) -> dict[str, Any]:
    """A config.json with the keys of the family's published ones; ids of added tokens begin at `first_added`."""
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "vocab_size": vocab}
    sizes |= {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": max_length}
    common = {"hidden_act": "silu", "rope_scaling": None, "attention_dropout": 0.0, "initializer_range": 0.02}
    common |= {"tie_word_embeddings": tied, "use_cache": True, "torch_dtype": "bfloat16"}
    common |= {"transformers_version": "4.52.3"}
    ids = {token: first_added + place for place, token in enumerate(TOKENS[family])}
    write = {"llada_moe": _llada_moe, "llada2": _llada2, "stable_diffcoder": _stable_diffcoder}.get(family, _sdar)
    return {**sizes, **common, **write(family, ids, head_dim=hidden // heads, ffn=ffn, layers=layers)}


def _llada_moe(family: str, ids: Mapping[str, int], *, ffn: int, layers: int, **_: int) -> dict[str, Any]:
    return {
        "architectures": ["LLaDAMoEModelLM"],
        "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_lladamoe.LLaDAMoEModelLM"},
        "model_type": "llada",  # that of the dense checkpoints
        **{"dense_intermediate_size": ffn, "expert_intermediate_size": EXPERT_WIDTH},
        **{"shared_expert_intermediate_size": None, "num_experts": NUM_EXPERTS, "rms_norm_eps": 1e-05},
        **{"num_experts_per_tok": EXPERTS_PER_TOKEN, "moe_layer_freq": [1] * layers, "norm_topk_prob": None},
        **{"moe_router_enable_expert_bias": False, "moe_router_score_function": "softmax"},
        **{"routed_scaling_factor": 1, "router_num_group": None, "router_topk_group": None},
        **{"router_aux_loss_coef": 0.01, "output_router_logits": False, "qk_layernorm": True, "clip_qkv": None},
        **{"rope_theta": 50000, "partial_rotary_factor": 1, "attention_bias": False},
        **{"eos_token_id": ids["<|endoftext|>"], "pad_token_id": ids["<|endoftext|>"]},
    }


def _llada2(family: str, ids: Mapping[str, int], *, head_dim: int, ffn: int, layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LLaDA2MoeModelLM"],
        "auto_map": {"AutoConfig": "configuration_llada2_moe.LLaDA2MoeConfig"},
        "model_type": "llada2_moe",
        **{"intermediate_size": ffn, "moe_intermediate_size": EXPERT_WIDTH, "head_dim": head_dim},
        **{"use_qkv_bias": False, "use_qk_norm": True, "use_bias": False, "rms_norm_eps": 1e-06, "norm_head": False},
        **{"embedding_dropout": 0.0, "output_dropout": 0.0, "rope_theta": 600000, "use_sliding_window": False},
        **{"sliding_window": 4096, "max_window_layers": layers, "pad_token_id": ids["<|endoftext|>"]},
        **{"num_experts": NUM_EXPERTS, "num_shared_experts": 1, "num_experts_per_tok": EXPERTS_PER_TOKEN},
        **{"n_group": 4, "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 2.5},
        **{"first_k_dense_replace": 1, "output_router_logits": False, "partial_rotary_factor": 0.5},
        **{"score_function": "sigmoid", "moe_router_enable_expert_bias": True, "rotary_dim": head_dim // 2},
        **{"router_dtype": "fp32"},
    }


def _sdar(family: str, ids: Mapping[str, int], *, head_dim: int, ffn: int, layers: int) -> dict[str, Any]:
    experts = {"decoder_sparse_step": 1, "mlp_only_layers": [], "moe_intermediate_size": EXPERT_WIDTH}
    experts |= {"num_experts": NUM_EXPERTS, "num_experts_per_tok": EXPERTS_PER_TOKEN, "norm_topk_prob": True}
    experts |= {"output_router_logits": False, "router_aux_loss_coef": 0.001}
    end = ids["<|endoftext|>"]
    return {
        "architectures": ["SDARMoeForCausalLM" if family == "sdar_moe" else "SDARForCausalLM"],
        "auto_map": {"AutoConfig": f"configuration_{family}.Config", "AutoModel": f"modeling_{family}.Model"},
        "model_type": family,
        **{"intermediate_size": ffn, "head_dim": head_dim, "attention_bias": False, "fuse_cross_entropy": True},
        **{"bos_token_id": end, "eos_token_id": end, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0},
        **{"use_sliding_window": False, "sliding_window": None, "max_window_layers": layers},
        **(experts if family == "sdar_moe" else {}),
    }


def _stable_diffcoder(family: str, ids: Mapping[str, int], *, head_dim: int, ffn: int, **_: int) -> dict[str, Any]:
    return {
        "architectures": ["StableDiffcoderForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_stable_diffcoder.StableDiffcoderForCausalLM"},
        "model_type": "llama",  # that of autoregressive checkpoints
        **{"intermediate_size": ffn, "head_dim": head_dim, "attention_bias": False, "mlp_bias": False},
        **{"rms_norm_eps": 1e-06, "rope_theta": 500000.0, "pretraining_tp": 1},
        **{"bos_token_id": ids["<[begin▁of▁sentence]>"], "eos_token_id": ids["<[end▁of▁sentence]>"]},
        **{"pad_token_id": ids["<[PAD▁TOKEN]>"]},
    }


def make_weights(
    family: str,
    *,
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int,
    ffn: int,
    vocab: int,
    seed: int,
    tied: bool,
    head_scale: float,
    num_tokens: int,
) -> dict[str, Tensor]:
    """Random weights under the hub's names, float32; rows of the head past `num_tokens` are zero."""
    draw = _Draw(torch.Generator().manual_seed(seed))
    moe, llada2 = family in MOE_FAMILIES, family == "llada2"
    embed = "model.word_embeddings.weight" if llada2 else "model.embed_tokens.weight"
    weights = {embed: draw.normal(vocab, hidden, scale=head_scale if tied else 0.8)}
    for layer in range(layers):
        block = {"input_layernorm.weight": draw.norm(hidden), "post_attention_layernorm.weight": draw.norm(hidden)}
        block |= _attention(draw, family, hidden=hidden, heads=heads, kv_heads=kv_heads)
        dense = not moe or (llada2 and layer == 0)
        block |= _mlp(draw, "mlp.", hidden, ffn) if dense else _experts(draw, hidden, llada2=llada2)
        weights |= {f"model.layers.{layer}.{name}": weight for name, weight in block.items()}
    weights["model.norm.weight"] = draw.norm(hidden)
    if not tied:
        weights["lm_head.weight"] = draw.normal(vocab, hidden, scale=head_scale)
        weights["lm_head.weight"][num_tokens:] = 0.0  # never proposed, as in a trained network
    return weights


class _Draw:
    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self._generator) * scale / math.sqrt(shape[-1])

    def norm(self, size: int, mean: float = 1.0) -> Tensor:
        return mean * (1.0 + 0.1 * torch.randn(size, generator=self._generator))


def _attention(draw: _Draw, family: str, *, hidden: int, heads: int, kv_heads: int) -> dict[str, Tensor]:
    size = hidden // heads
    sharp = 4.0 if family == "stable_diffcoder" else 1.0  # norms undo it in the other families
    q, k = draw.normal(hidden, hidden, scale=sharp), draw.normal(size * kv_heads, hidden, scale=sharp)
    v, o = draw.normal(size * kv_heads, hidden), draw.normal(hidden, hidden)
    if family == "stable_diffcoder":
        return {f"self_attn.{name}_proj.weight": weight for name, weight in zip("qkvo", (q, k, v, o), strict=True)}
    norms = {name: draw.norm(size, mean=3.0) for name in "qk"}
    if family == "llada2":
        own = {"attention.query_key_value.weight": torch.cat([q, k, v]), "attention.dense.weight": o}
        names = {"q": "query", "k": "key"}
        return own | {f"attention.{names[part]}_layernorm.weight": norm for part, norm in norms.items()}
    own = {f"self_attn.{name}_proj.weight": weight for name, weight in zip("qkvo", (q, k, v, o), strict=True)}
    return own | {f"self_attn.{part}_norm.weight": norm for part, norm in norms.items()}


def _mlp(draw: _Draw, prefix: str, hidden: int, width: int) -> dict[str, Tensor]:
    shapes = {"gate_proj": (width, hidden), "up_proj": (width, hidden), "down_proj": (hidden, width)}
    return {f"{prefix}{name}.weight": draw.normal(*shape) for name, shape in shapes.items()}


def _experts(draw: _Draw, hidden: int, *, llada2: bool) -> dict[str, Tensor]:
    weights = {"mlp.gate.weight": draw.normal(NUM_EXPERTS, hidden, scale=2.0)}
    for expert in range(NUM_EXPERTS):
        weights |= _mlp(draw, f"mlp.experts.{expert}.", hidden, EXPERT_WIDTH)
    if llada2:
        # Clearly negative, so that an expert of an excluded group would win where it counted as zero.
        bias = -1.0 + draw.normal(NUM_EXPERTS, scale=0.6)
        weights |= {"mlp.gate.expert_bias": bias, **_mlp(draw, "mlp.shared_experts.", hidden, EXPERT_WIDTH)}
    return weights
