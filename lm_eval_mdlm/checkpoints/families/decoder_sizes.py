"""Sizes of a decoder under the names that most configs of transformers' kind have."""

from typing import Any

from ..raw_config import MOST_LAYERS, RawConfig


NAMES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("max_position_embeddings", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "head_dim"),
)
"""Options that `decoder_sizes` reads."""
PLAIN = {"hidden_act": ("silu",), "rope_scaling": (None,), "use_sliding_window": (False, None)}
"""Accepted values of options that have one meaning in every family of this kind."""
WITHOUT_EFFECT = (
    "sliding_window",
    "max_window_layers",
    "pretraining_tp",
    "output_router_logits",
    "router_aux_loss_coef",
)
"""Of the sliding window that `PLAIN` turns off, and of training."""


def decoder_sizes(raw: RawConfig, *, head_dim: bool = True) -> dict[str, Any]:
    """Arguments of a native configuration, `rope_parameters` without extras among them.

    Args:
        raw: The checkpoint's config.json.
        head_dim: Whether a head's width may be stated; if not it is `hidden_size / num_attention_heads`.

    Raises:
        UsageError: For a missing, ill-typed or impossible size.
    """
    width, heads = raw.integer("hidden_size"), raw.integer("num_attention_heads")
    kv_heads = raw.integer("num_key_value_heads", heads)
    stated = head_dim and raw.values.get("head_dim") is not None
    if not stated and width % heads:
        raise raw.refusal("num_attention_heads", f"must divide hidden_size={width}")
    if heads % kv_heads:
        raise raw.refusal("num_key_value_heads", f"must divide num_attention_heads={heads}")
    size = raw.integer("head_dim") if stated else width // heads
    if size % 2:
        raise raw.refusal("head_dim", "must be even")
    return {
        "vocab_size": raw.integer("vocab_size"),
        "hidden_size": width,
        "num_hidden_layers": raw.integer("num_hidden_layers", most=MOST_LAYERS),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        **({"head_dim": size} if head_dim else {}),
        "hidden_act": "silu",
        "rms_norm_eps": raw.number("rms_norm_eps"),
        "rope_parameters": {"rope_type": "default", "rope_theta": raw.number("rope_theta")},
        "max_position_embeddings": raw.integer("max_position_embeddings"),
        "tie_word_embeddings": raw.flag("tie_word_embeddings", False),
    }
