"""Dream checkpoints (Dream-7B, Dream-Coder, DiffuCoder) as Qwen2 networks."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from ..raw_config import RawConfig
from . import decoder_sizes as plain
from .family import Architecture, Family


ACCEPTED = {**plain.PLAIN, "use_mrope": (False, None)}
TRANSLATED = (*(name for name in plain.NAMES if name != "head_dim"), "intermediate_size")
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

    def _translated(self, raw: RawConfig) -> Architecture:
        raw.accept(ACCEPTED)
        raw.refuse_unknown({*ACCEPTED, *TRANSLATED, *plain.WITHOUT_EFFECT})
        sizes = plain.decoder_sizes(raw, head_dim=False)
        sizes["max_position_embeddings"] = min(sizes["max_position_embeddings"], CONTEXT)
        config = Qwen2Config(intermediate_size=raw.integer("intermediate_size"), use_sliding_window=False, **sizes)
        return Architecture(network=Qwen2ForCausalLM, config=config)

    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        # Named, because the automatic class follows the checkpoint to tokenizer code of its own.
        return Qwen2Tokenizer.from_pretrained(str(folder), trust_remote_code=False)
