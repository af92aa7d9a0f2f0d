"""Stable-DiffCoder checkpoints as Llama networks."""

from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..raw_config import RawConfig
from . import decoder_sizes as plain
from .family import Architecture, Family


ACCEPTED = {**plain.PLAIN, "attention_bias": (False, None), "mlp_bias": (False, None)}
TRANSLATED = (*plain.NAMES, "intermediate_size", "block_size")


class StableDiffCoder(Family):
    """Stable-DiffCoder-8B: Llama's network and weights, trained to see whole blocks of a grid of 4; no shift.

    The model type is that of autoregressive checkpoints, so that only the architecture tells. Its mask and its grid
    are in no config: they are the defaults of the decoding loop that is published with the checkpoints.
    """

    name = "Stable-DiffCoder"
    members = "Stable-DiffCoder (model_type 'llama' with architectures ['StableDiffcoder...'])"
    shift = False
    turn_end = "<[end▁of▁sentence]>"
    block_causal = True
    usual_grid_block = 4
    default_mask_token_id = 5

    def matches(self, raw: RawConfig) -> bool:
        architectures = raw.values.get("architectures")
        names = architectures if isinstance(architectures, list) else []
        return raw.values.get("model_type") == "llama" and any(
            str(name).lower().startswith("stablediffcoder") for name in names
        )

    def _translated(self, raw: RawConfig) -> Architecture:
        raw.accept(ACCEPTED)
        raw.refuse_unknown({*ACCEPTED, *TRANSLATED, *plain.WITHOUT_EFFECT})
        sizes = plain.decoder_sizes(raw)
        if sizes["hidden_size"] % sizes["num_attention_heads"]:  # Llama asks for it even where head_dim is stated
            raise raw.refusal("num_attention_heads", f"must divide hidden_size={sizes['hidden_size']}")
        config = LlamaConfig(intermediate_size=raw.integer("intermediate_size"), **sizes)
        return Architecture(network=LlamaForCausalLM, config=config)

    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        return PreTrainedTokenizerFast.from_pretrained(str(folder), trust_remote_code=False)
