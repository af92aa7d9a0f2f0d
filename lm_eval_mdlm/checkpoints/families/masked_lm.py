"""Encoders (BERT, RoBERTa, ModernBERT, ...): whatever transformers loads as AutoModelForMaskedLM, as it is."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from ..raw_config import RawConfig
from .family import Architecture, Family


UNFIT = {
    "perceiver": "it has no position of its own for every token",
    "reformer": "its attention depends on random hashes",
    "yoso": "its attention depends on random hashes",
}
"""Model types whose rows cannot be the same in every pass, with the reason."""
BESIDE = (
    r"(^|\.)(pooler|seq_relationship|sop_classifier|mask_predictions|discriminator_predictions|contact_head)\."
    r"|\.(position_ids|token_type_ids|inv_freq)$"
)
"""What a pretraining checkpoint has beside the body and the masked-LM head: other heads, and tables that are made
anew."""


class MaskedLM(Family):
    """Encoders with a masked-LM head: row i predicts token i, every token sees its whole canvas.

    Recognised by a model type that transformers maps to a masked LM. Every option of the config means what it means
    there. The tokenizer is needed: it says which token is the mask, and what stands around a text.
    """

    name = "encoder"
    members = "encoders that transformers loads as AutoModelForMaskedLM (BERT, RoBERTa, ModernBERT, ...)"
    shift = False
    turn_end = "[SEP]"
    encoder = True

    def matches(self, raw: RawConfig) -> bool:
        model_type = raw.values.get("model_type")
        return isinstance(model_type, str) and model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES

    def _translated(self, raw: RawConfig) -> Architecture:
        if not self.matches(raw):
            raise raw.refusal("model_type", "must be one that transformers loads as AutoModelForMaskedLM")
        model_type = raw.values["model_type"]
        if model_type in UNFIT:
            raise raw.refusal("model_type", f"cannot be evaluated, since {UNFIT[model_type]}")
        raw.accept({"is_decoder": (False, None), "quantization_config": (None,), "vision_config": (None,)})
        config = _config(raw, model_type)
        if config.is_encoder_decoder:
            raise raw.refusal("model_type", "must be an encoder without a decoder")
        if getattr(config, "attention_type", None) == "block_sparse":
            # It leaves that for good when it meets a short text, so that results would depend on the order.
            raise raw.refusal("attention_type", 'must be "original_full"')
        return Architecture(network=MODEL_FOR_MASKED_LM_MAPPING[type(config)], config=config, beside=BESIDE)

    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)


def _config(raw: RawConfig, model_type: str) -> Any:
    try:
        config = CONFIG_MAPPING[model_type].from_dict(dict(raw.values))
    except Exception as error:  # each class checks its options in its own way
        reason = " ".join(str(error).split())
        raise raw.refusal("model_type", f"must go with options of its own ({reason[:200]})") from None
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings"):
        value = getattr(config, name, None)
        if value is not None and (type(value) is not int or value < 1):
            raise raw.refusal(name, "must be a positive whole number")
    return config
