"""LLaDA checkpoints (LLaDA-8B, LLaDA 1.5) as Llama networks."""

import re
from pathlib import Path

from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ..raw_config import MOST, MOST_LAYERS, RawConfig
from .family import Architecture, Family


BLOCK_PARTS = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",  # the factor that goes through SiLU
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
OUTER_PARTS = {
    "model.embed_tokens.": "model.transformer.wte.",
    "model.norm.": "model.transformer.ln_f.",
    "lm_head.": "model.transformer.ff_out.",
}
KEY_MAPPING = {
    **{f"^{re.escape(theirs)}": ours for ours, theirs in OUTER_PARTS.items()},
    **{
        rf"^model\.transformer\.blocks\.(\d+)\.{part}\.": rf"model.layers.\1.{native}."
        for part, native in BLOCK_PARTS.items()
    },
}
ACCEPTED = {
    "block_type": ("llama",),
    "block_group_size": (1, None),
    "activation_type": ("silu",),
    "rope": (True,),
    "alibi": (False, None),
    "layer_norm_type": ("rms",),
    "layer_norm_with_affine": (True, None),
    "attention_layer_norm": (False, None),
    "bias_for_layer_norm": (False, None),
    "include_bias": (False,),
    "input_emb_norm": (False, None),
    "scale_logits": (False, None),
}
"""Options that have one meaning in the native network; None where the official default is that meaning too."""
TRANSLATED = (
    *("d_model", "n_layers", "n_heads", "n_kv_heads", "multi_query_attention", "mlp_hidden_size", "mlp_ratio"),
    *("vocab_size", "embedding_size", "max_sequence_length", "weight_tying", "include_qkv_bias"),
    *("rms_norm_eps", "rope_theta", "rope_full_precision"),
)
UNUSED = (
    *("alibi_bias_max", "attention_layer_norm_with_affine"),  # of parts that ACCEPTED turns off
    *("residual_dropout", "embedding_dropout", "precision", "flash_attention"),
    *("init_fn", "init_std", "init_cutoff_factor", "init_device"),
)


class LLaDA(Family):
    """LLaDA-8B and 1.5: a Llama network in other names, row i predicts token i.

    The model type `llada` is shared with mixture-of-experts checkpoints; only this layout has `d_model`.
    Source: arXiv:2502.09992, and the modelling code published with the checkpoints.
    """

    name = "LLaDA"
    members = "LLaDA-8B and LLaDA 1.5 (model_type 'llada' with d_model)"
    shift = False
    turn_end = "<|eot_id|>"

    def matches(self, raw: RawConfig) -> bool:
        return raw.values.get("model_type") == "llada" and "d_model" in raw.values

    def _translated(self, raw: RawConfig) -> Architecture:
        raw.accept(ACCEPTED)
        raw.refuse_unknown({*ACCEPTED, *TRANSLATED, *UNUSED})
        width, heads = raw.integer("d_model"), raw.integer("n_heads")
        if width % heads:
            raise raw.refusal("n_heads", f"must divide d_model={width}")
        options = {
            "vocab_size": raw.integer("embedding_size", raw.integer("vocab_size")),
            "hidden_size": width,
            "intermediate_size": _mlp_width(raw, width),
            "num_hidden_layers": raw.integer("n_layers", most=MOST_LAYERS),
            "num_attention_heads": heads,
            "num_key_value_heads": _num_kv_heads(raw, heads),
            "hidden_act": "silu",
            "rms_norm_eps": raw.number("rms_norm_eps"),
            "rope_parameters": {"rope_type": "default", "rope_theta": raw.number("rope_theta")},
            "max_position_embeddings": raw.integer("max_sequence_length"),
            "tie_word_embeddings": raw.flag("weight_tying"),
        }
        # Llama's one bias switch also covers the output projection; Qwen2 is Llama with biases on q, k and v alone.
        biased = raw.flag("include_qkv_bias", False)
        return Architecture(
            network=Qwen2ForCausalLM if biased else LlamaForCausalLM,
            config=(Qwen2Config if biased else LlamaConfig)(**options),
            key_mapping=KEY_MAPPING,
            float32_rope=raw.flag("rope_full_precision", True),
        )

    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        return PreTrainedTokenizerFast.from_pretrained(str(folder), trust_remote_code=False)

    def hub_name(self, native: str) -> str:
        for ours, theirs in OUTER_PARTS.items():
            if native.startswith(ours):
                return theirs + native.removeprefix(ours)
        match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", native)
        assert match, f"{native} is no weight of a Llama network"
        part = next(theirs for theirs, ours in BLOCK_PARTS.items() if ours == match[2])
        return f"model.transformer.blocks.{match[1]}.{part}.{match[3]}"


def _num_kv_heads(raw: RawConfig, heads: int) -> int:
    multi_query = raw.flag("multi_query_attention", False)
    kv_heads = raw.integer("n_kv_heads", 1 if multi_query else heads)
    if heads % kv_heads or (multi_query and kv_heads != 1):
        rule = "must be 1 with multi_query_attention" if multi_query else f"must divide n_heads={heads}"
        raise raw.refusal("n_kv_heads", rule)
    return kv_heads


def _mlp_width(raw: RawConfig, width: int) -> int:
    if raw.values.get("mlp_hidden_size") is not None:
        return raw.integer("mlp_hidden_size")
    return raw.integer("mlp_ratio", most=MOST // width) * width
