"""How large a network may be that a config.json asks for, told from its sizes before anything is made of it."""

from transformers import PreTrainedConfig

from ..raw_config import MOST, MOST_LAYERS, RawConfig


MOST_EXPERTS = 4096
"""Of a layer; published networks have at most some 2,000, and all of their names are listed."""
MOST_EXPERTS_IN_ALL = 2**17
MOST_WEIGHTS = 2**45
"""Of a network: some twenty times the largest published one, and few enough for sizes in bytes to be numbers."""


def refuse_absurd_decoder(raw: RawConfig, config: PreTrainedConfig) -> None:
    """UsageError if the sizes of a decoder's native configuration multiply beyond all measure."""
    if (experts := _experts(config)) * config.num_hidden_layers > MOST_EXPERTS_IN_ALL:
        raise raw.refusal("num_experts", f"must be at most {MOST_EXPERTS_IN_ALL} over all layers")
    width, heads = config.hidden_size, config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or width // heads
    attention = 2 * (heads + config.num_key_value_heads) * head_width
    routed = (experts + (getattr(config, "n_shared_experts", None) or 0)) * getattr(config, "moe_intermediate_size", 0)
    # More than there are, where layers have either experts or one feed-forward part.
    layer = attention + 3 * (config.intermediate_size + routed) + experts
    total = width * (2 * config.vocab_size + config.num_hidden_layers * layer)
    if total > MOST_WEIGHTS:
        name = next(name for name in ("hidden_size", "d_model") if name in raw.values)
        raise raw.refusal(name, f"must make a network of at most {MOST_WEIGHTS} weights, and makes one of some {total}")


def _experts(config: PreTrainedConfig) -> int:
    """Of each layer."""
    return getattr(config, "num_experts", None) or getattr(config, "n_routed_experts", None) or 0


def refuse_absurd_encoder(raw: RawConfig, config: PreTrainedConfig) -> None:
    """UsageError for a size of an encoder beyond `MOST`, or a number of layers beyond that of any."""
    for name, value in config.to_dict().items():
        limit = MOST_LAYERS if name.endswith(("layers", "_groups", "num_blocks", "block_sizes")) else MOST
        if any(type(size) is int and size > limit for size in (value if isinstance(value, list) else [value])):
            raise raw.refusal(name, f"must be at most {limit}")
