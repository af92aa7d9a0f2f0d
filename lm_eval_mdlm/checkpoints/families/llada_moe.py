"""LLaDA-MoE checkpoints as Qwen3-MoE networks."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen3MoeConfig, Qwen3MoeForCausalLM

from ..raw_config import RawConfig
from . import decoder_sizes as plain
from .family import Architecture, Family
from .measure import MOST_EXPERTS
from .stored_form import ExpertsOneByOne


ACCEPTED = {
    **plain.PLAIN,
    "attention_bias": (False, None),
    "clip_qkv": (None,),
    "moe_router_enable_expert_bias": (False, None),
    "moe_router_score_function": ("softmax", None),
    "partial_rotary_factor": (1, None),
    "qk_layernorm": (True,),
    "routed_scaling_factor": (1, None),
    "router_num_group": (None,),
    "router_topk_group": (None,),
    "shared_expert_intermediate_size": (None, 0),
}
TRANSLATED = (
    *(name for name in plain.NAMES if name != "head_dim"),
    *("dense_intermediate_size", "expert_intermediate_size", "moe_layer_freq", "num_experts", "num_experts_per_tok"),
)
UNUSED = (*plain.WITHOUT_EFFECT, "norm_topk_prob")
"""The published code never divides the weights of the chosen experts by their sum, whatever `norm_topk_prob` says."""


class LLaDAMoE(Family):
    """LLaDA-MoE-7B-A1B: a Qwen3-MoE network, row i predicts token i.

    Source: arXiv:2509.24389, and the modelling code published with the checkpoints.
    """

    name = "LLaDA-MoE"
    members = "LLaDA-MoE (architectures ['LLaDAMoEModelLM'])"
    shift = False
    turn_end = "<|role_end|>"
    default_mask_token_id = 156895
    default_end_token_id = 156892

    def matches(self, raw: RawConfig) -> bool:
        return raw.values.get("model_type") == "llada" and raw.values.get("architectures") == ["LLaDAMoEModelLM"]

    def _translated(self, raw: RawConfig) -> Architecture:
        raw.accept(ACCEPTED)
        raw.refuse_unknown({*ACCEPTED, *TRANSLATED, *UNUSED})
        sizes = plain.decoder_sizes(raw, head_dim=False)
        num_experts = raw.integer("num_experts", most=MOST_EXPERTS)
        config = Qwen3MoeConfig(
            **sizes,
            head_dim=sizes["hidden_size"] // sizes["num_attention_heads"],
            intermediate_size=raw.integer("dense_intermediate_size"),
            moe_intermediate_size=raw.integer("expert_intermediate_size"),
            num_experts=num_experts,
            num_experts_per_tok=raw.integer("num_experts_per_tok", most=num_experts),
            norm_topk_prob=False,
            mlp_only_layers=_dense_layers(raw, sizes["num_hidden_layers"]),
            decoder_sparse_step=1,
            use_sliding_window=False,
        )
        return Architecture(
            network=Qwen3MoeForCausalLM,
            config=config,
            stored_forms=(ExpertsOneByOne(),),
            has_experts=True,
        )

    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        return PreTrainedTokenizerFast.from_pretrained(str(folder), trust_remote_code=False)


def _dense_layers(raw: RawConfig, num_layers: int) -> list[int]:
    frequencies = raw.values.get("moe_layer_freq")
    if not isinstance(frequencies, list) or len(frequencies) != num_layers or not set(frequencies) <= {0, 1}:
        raise raw.refusal("moe_layer_freq", f"must be 0 or 1 for each of the {num_layers} layers")
    return [layer for layer, has_experts in enumerate(frequencies) if not has_experts]
