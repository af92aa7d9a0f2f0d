"""SDAR and TraDo checkpoints, dense and with experts, as Qwen3 and Qwen3-MoE networks."""

from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedTokenizerBase,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from ..raw_config import RawConfig
from . import decoder_sizes as plain
from .family import Architecture, Family
from .measure import MOST_EXPERTS
from .stored_form import ExpertsOneByOne


ACCEPTED = {**plain.PLAIN, "attention_bias": (False, None), "mlp_bias": (False, None)}
TRANSLATED = (*plain.NAMES, "intermediate_size", "block_size")
UNUSED = (*plain.WITHOUT_EFFECT, "fuse_cross_entropy", "debug", "ep_size", "micro_forward", "skip_checkpoint")
"""Of the training loss and of how training was spread over devices."""
ACCEPTED_OF_EXPERTS: dict[str, Any] = {**ACCEPTED, "decoder_sparse_step": (1, None), "mlp_only_layers": ([], None)}
TRANSLATED_OF_EXPERTS = ("moe_intermediate_size", "num_experts", "num_experts_per_tok", "norm_topk_prob")


class SDAR(Family):
    """SDAR and TraDo: Qwen3's networks, trained to see whole blocks of a grid; row i predicts token i.

    Source: arXiv:2510.06303 (SDAR) and arXiv:2509.06949 (TraDo), and the code published with them.
    """

    name = "SDAR"
    members = "SDAR and TraDo (model_type 'sdar' or 'sdar_moe')"
    shift = False
    turn_end = "<|im_end|>"
    block_causal = True
    default_mask_token_id = 151669

    def matches(self, raw: RawConfig) -> bool:
        return raw.values.get("model_type") in ("sdar", "sdar_moe")

    def _translated(self, raw: RawConfig) -> Architecture:
        if "num_experts" in raw.values:
            return self._with_experts(raw)
        raw.accept(ACCEPTED)
        raw.refuse_unknown({*ACCEPTED, *TRANSLATED, *UNUSED})
        return Architecture(network=Qwen3ForCausalLM, config=Qwen3Config(**_sizes(raw)))

    def _with_experts(self, raw: RawConfig) -> Architecture:
        raw.accept(ACCEPTED_OF_EXPERTS)
        raw.refuse_unknown({*ACCEPTED_OF_EXPERTS, *TRANSLATED, *TRANSLATED_OF_EXPERTS, *UNUSED})
        num_experts = raw.integer("num_experts", most=MOST_EXPERTS)
        config = Qwen3MoeConfig(
            **_sizes(raw),
            moe_intermediate_size=raw.integer("moe_intermediate_size"),
            num_experts=num_experts,
            num_experts_per_tok=raw.integer("num_experts_per_tok", most=num_experts),
            norm_topk_prob=raw.flag("norm_topk_prob"),
        )
        return Architecture(
            network=Qwen3MoeForCausalLM,
            config=config,
            stored_forms=(ExpertsOneByOne(),),
            has_experts=True,
        )

    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        # Named, because the automatic class follows the checkpoint to tokenizer code of its own.
        return Qwen2Tokenizer.from_pretrained(str(folder), trust_remote_code=False)


def _sizes(raw: RawConfig) -> dict[str, Any]:
    sizes = {**plain.decoder_sizes(raw), "use_sliding_window": False}
    return {**sizes, "intermediate_size": raw.integer("intermediate_size")}
