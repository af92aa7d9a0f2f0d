"""Dream checkpoints (Dream-7B, Dream-Coder, DiffuCoder) as Qwen2 networks."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from ..raw_config import MOST_LAYERS, RawConfig
from .family import Architecture, Family


ACCEPTED = {
    "hidden_act": ("silu",),
    "rope_scaling": (None,),
    "use_sliding_window": (False, None),
    "use_mrope": (False, None),
}
TRANSLATED = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
    *("rms_norm_eps", "rope_theta", "tie_word_embeddings"),
)
UNUSED = ("sliding_window", "max_window_layers")  # of the sliding window that ACCEPTED turns off


CONTEXT = 2048
"""Longest canvas these networks were trained on, by their documentation; their configs say 131,072, Qwen2.5's own."""


class Dream(Family):
    """Dream-7B and its descendants: Qwen2's names and weights, and its shift: row i - 1 predicts token i.

    Recognised by the architecture DreamModel: checkpoints of model type `Dream` with another one need not be shifted.
    Source: arXiv:2508.15487, and the modelling code published with the checkpoints.
    """

    name = "Dream"
    members = "Dream-7B, Dream-Coder and DiffuCoder (architectures ['DreamModel'])"
    shift = True
    turn_end = "<|im_end|>"

    def matches(self, raw: RawConfig) -> bool:
        return raw.values.get("model_type") == "Dream" and raw.values.get("architectures") == ["DreamModel"]

    def architecture(self, raw: RawConfig) -> Architecture:
        raw.accept(ACCEPTED)
        raw.refuse_unknown({*ACCEPTED, *TRANSLATED, *UNUSED})
        width, heads = raw.integer("hidden_size"), raw.integer("num_attention_heads")
        kv_heads = raw.integer("num_key_value_heads", heads)
        if width % heads:
            raise raw.refusal("num_attention_heads", f"must divide hidden_size={width}")
        if heads % kv_heads:
            raise raw.refusal("num_key_value_heads", f"must divide num_attention_heads={heads}")
        config = Qwen2Config(
            vocab_size=raw.integer("vocab_size"),
            hidden_size=width,
            intermediate_size=raw.integer("intermediate_size"),
            num_hidden_layers=raw.integer("num_hidden_layers", most=MOST_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            hidden_act="silu",
            rms_norm_eps=raw.number("rms_norm_eps"),
            rope_parameters={"rope_type": "default", "rope_theta": raw.number("rope_theta")},
            max_position_embeddings=min(raw.integer("max_position_embeddings"), CONTEXT),
            tie_word_embeddings=raw.flag("tie_word_embeddings", False),
            use_sliding_window=False,
        )
        return Architecture(network=Qwen2ForCausalLM, config=config)

    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        # Named, because the automatic class follows the checkpoint to tokenizer code of its own.
        return Qwen2Tokenizer.from_pretrained(str(folder), trust_remote_code=False)
