"""LLaDA2's native class: GLM-4-MoE's, and how transformers takes its stored weights in."""

from typing import Any

import torch
from torch import Tensor
from transformers import Glm4MoeForCausalLM
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Concatenate, ConversionOps, MergeModulelist, WeightConverter


class LLaDA2ForCausalLM(Glm4MoeForCausalLM):  # type: ignore[misc]
    """GLM-4-MoE's network under a name of its own, by which its stored weights are told from GLM's."""

    _keys_to_ignore_on_load_unexpected = None  # GLM's are layers for speculation, which these checkpoints do not have

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # Found out from the source of the class's module, which is GLM's.
        return True


class SplitQueryKeyValue(ConversionOps):  # type: ignore[misc]
    """One tensor of queries, keys and values to three, by the numbers of heads."""

    @torch.no_grad()
    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        config: Any = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        """See `ConversionOps`."""
        (fused,) = input_dict.values()
        fused = fused[0] if isinstance(fused, list) else fused
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        parts = fused.split([count * config.head_dim for count in (heads, kv_heads, kv_heads)])
        return {target: part.contiguous() for target, part in zip(target_patterns, parts, strict=True)}

    @property
    def reverse_op(self) -> ConversionOps:
        """See `ConversionOps`."""
        return Concatenate(dim=0)


register_checkpoint_conversion_mapping(
    LLaDA2ForCausalLM.__name__,
    [
        WeightConverter(
            source_patterns="self_attn.query_key_value.weight",
            target_patterns=["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"],
            operations=[SplitQueryKeyValue()],
        ),
        WeightConverter(
            source_patterns=["mlp.experts.*.gate_proj.weight", "mlp.experts.*.up_proj.weight"],
            target_patterns="mlp.experts.gate_up_proj",
            operations=[MergeModulelist(dim=0), Concatenate(dim=1)],
        ),
        WeightConverter(
            source_patterns="mlp.experts.*.down_proj.weight",
            target_patterns="mlp.experts.down_proj",
            operations=[MergeModulelist(dim=0)],
        ),
    ],
    overwrite=True,
)
