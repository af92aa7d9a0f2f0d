"""LLaDA2.0 and LLaDA2.1 checkpoints as GLM-4-MoE networks."""

import re
from pathlib import Path

from transformers import Glm4MoeConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..raw_config import RawConfig
from . import decoder_sizes as plain
from .family import Architecture, Family
from .measure import MOST_EXPERTS
from .stored_form import ExpertsOneByOne, FusedQueryKeyValue


MODEL_TYPES = ("llada2_moe", "llada2_moe_veomni", "llada21_moe")
"""One layout under three names: the hub's, that of its training code, and that of a public copy of 2.1."""
OF_LATER_VERSIONS = ("expert_capacity", "delete_token_id", "split_token_id")
"""LLaDA2.2 routes whole blocks and deletes and inserts tokens; its model type is the same."""
LAYER_PARTS = {
    "attention.query_key_value": "self_attn.query_key_value",
    "attention.dense": "self_attn.o_proj",
    "attention.query_layernorm": "self_attn.q_norm",
    "attention.key_layernorm": "self_attn.k_norm",
    "mlp.gate.expert_bias": "mlp.gate.e_score_correction_bias",
}
KEY_MAPPING = {
    r"^model\.word_embeddings\.": "model.embed_tokens.",
    **{
        rf"^model\.layers\.(\d+)\.{re.escape(theirs)}": rf"model.layers.\1.{ours}"
        for theirs, ours in LAYER_PARTS.items()
    },
}
ACCEPTED = {
    **plain.PLAIN,
    "moe_router_enable_expert_bias": (True, None),
    "norm_head": (False, None),
    "norm_topk_prob": (True, None),
    "rope_interleave": (False, None),
    "router_dtype": ("fp32", None),
    "score_function": ("sigmoid", None),
    "use_bias": (False, None),
    "use_qk_norm": (True,),
    "use_qkv_bias": (False, None),
    "using_split_qkv_in_self_attention": (False, None),
}
TRANSLATED = (
    *(*plain.NAMES, "intermediate_size", "moe_intermediate_size", "num_experts", "num_experts_per_tok"),
    *("num_shared_experts", "n_group", "topk_group", "routed_scaling_factor", "first_k_dense_replace"),
    *("partial_rotary_factor", "rotary_dim", "block_size"),
)
UNUSED = (*plain.WITHOUT_EFFECT, "embedding_dropout", "output_dropout")


class LLaDA2(Family):
    """LLaDA2.0 and 2.1: a GLM-4-MoE network that sees whole blocks of a grid of 32; row i predicts token i.

    Source: arXiv:2512.15745, and the modelling code published with the checkpoints.
    """

    name = "LLaDA2"
    members = "LLaDA2.0 and 2.1 (model_type 'llada2_moe')"
    shift = False
    turn_end = "<|role_end|>"
    block_causal = True
    usual_grid_block = 32
    default_mask_token_id = 156895
    default_end_token_id = 156892

    def matches(self, raw: RawConfig) -> bool:
        return raw.values.get("model_type") in MODEL_TYPES

    def _translated(self, raw: RawConfig) -> Architecture:
        for name in OF_LATER_VERSIONS:
            if raw.values.get(name) is not None:
                raise raw.refusal(name, "is of LLaDA2.2, whose router and edits are others than those of 2.0 and 2.1")
        raw.accept(ACCEPTED)
        raw.refuse_unknown({*ACCEPTED, *TRANSLATED, *UNUSED})
        from .llada2_network import LLaDA2ForCausalLM  # not before: older versions lack what it is made of

        return Architecture(
            network=LLaDA2ForCausalLM,
            config=_config(raw),
            key_mapping=KEY_MAPPING,
            stored_forms=(ExpertsOneByOne(), FusedQueryKeyValue()),
            has_experts=True,
        )

    def load_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        return PreTrainedTokenizerFast.from_pretrained(str(folder), trust_remote_code=False)

    def hub_name(self, native: str) -> str:
        if native.startswith("model.embed_tokens."):
            return native.replace("embed_tokens", "word_embeddings")
        for theirs, ours in LAYER_PARTS.items():
            native = re.sub(rf"^(model\.layers\.\d+)\.{re.escape(ours)}", rf"\1.{theirs}", native)
        return native


def _config(raw: RawConfig) -> Glm4MoeConfig:
    sizes = plain.decoder_sizes(raw)
    num_experts, num_groups = raw.integer("num_experts", most=MOST_EXPERTS), raw.integer("n_group")
    if num_experts % num_groups or num_experts // num_groups < 2:
        raise raw.refusal("n_group", f"must divide num_experts={num_experts} into groups of 2 or more")
    chosen, admitted = raw.integer("num_experts_per_tok"), raw.integer("topk_group")
    if admitted > num_groups or chosen > admitted * (num_experts // num_groups):
        raise raw.refusal(
            "topk_group", f"must admit at least num_experts_per_tok={chosen} of {num_groups} groups' experts"
        )
    sizes["rope_parameters"]["partial_rotary_factor"] = _share_of_rotation(raw, sizes["head_dim"])
    return Glm4MoeConfig(
        **sizes,
        intermediate_size=raw.integer("intermediate_size"),
        moe_intermediate_size=raw.integer("moe_intermediate_size"),
        n_routed_experts=num_experts,
        n_shared_experts=raw.integer("num_shared_experts"),
        num_experts_per_tok=chosen,
        n_group=num_groups,
        topk_group=admitted,
        routed_scaling_factor=raw.number("routed_scaling_factor"),
        first_k_dense_replace=_first_with_experts(raw),
        norm_topk_prob=True,
        use_qk_norm=True,
        attention_bias=False,
    )


def _share_of_rotation(raw: RawConfig, head_dim: int) -> float:
    """Of a head, how much is rotated; the two options that say so must agree."""
    shares = []
    if raw.values.get("partial_rotary_factor") is not None:
        shares.append(raw.number("partial_rotary_factor"))
    if raw.values.get("rotary_dim") is not None:
        shares.append(raw.integer("rotary_dim") / head_dim)
    if not shares or max(shares) > 1 or len(set(shares)) > 1:
        raise raw.refusal("rotary_dim", f"must be partial_rotary_factor times head_dim={head_dim}")
    return shares[0]


def _first_with_experts(raw: RawConfig) -> int:
    value = raw.values.get("first_k_dense_replace", 0)
    if type(value) is not int or value < 0:
        raise raw.refusal("first_k_dense_replace", "must be a number of layers")
    return value
