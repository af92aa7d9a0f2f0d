"""The weights of fused layers, side by side where one product can serve several."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from .experts import FusedExperts
from .kernels import gated_silu


class FusedMLP(Protocol):
    """What follows attention in a layer."""

    def __call__(self, normed: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """What it adds to the tokens' states."""
        ...


@dataclass(frozen=True, kw_only=True)
class DenseMLP:
    """One gated MLP for every token."""

    gate_up: Float[Tensor, "two_F D"]
    down: Float[Tensor, "D F"]

    @classmethod
    def of(cls, mlp: Any) -> "DenseMLP":
        """Fuse a transformers module in place; see `FusedLayer.of`."""
        return cls(gate_up=_side_by_side((mlp.gate_proj, mlp.up_proj), "weight"), down=mlp.down_proj.weight)

    def __call__(self, normed: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        return linear(gated_silu(linear(normed, self.gate_up)), self.down)


@dataclass(frozen=True, kw_only=True)
class SharedAndExperts:
    """Experts that a router chooses for each token, and perhaps one that every token has."""

    experts: FusedExperts
    shared: DenseMLP | None

    @classmethod
    def of(cls, mlp: Any) -> "SharedAndExperts":
        """Fuse a transformers module in place; see `FusedLayer.of`."""
        shared = getattr(mlp, "shared_experts", None)
        return cls(experts=FusedExperts.of(mlp), shared=None if shared is None else DenseMLP.of(shared))

    def __call__(self, normed: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        return self.experts(normed, None if self.shared is None else self.shared(normed))


@dataclass(frozen=True, kw_only=True)
class FusedLayer:
    """The weights of one layer."""

    qkv: Float[Tensor, "W D"]
    qkv_bias: Float[Tensor, " W"] | None
    head_norms: tuple[Float[Tensor, " A"], Float[Tensor, " A"]] | None
    """Of queries and keys, each head by itself; None where they are not normed."""
    attention_out: Float[Tensor, "D A"]
    mlp: FusedMLP
    attention_norm: Float[Tensor, " D"]
    mlp_norm: Float[Tensor, " D"]

    @classmethod
    def of(cls, layer: Any) -> "FusedLayer":
        """Fuse a transformers layer in place: its own weights become views, so that nothing is held twice."""
        attention = layer.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        norms = (attention.q_norm.weight, attention.k_norm.weight) if hasattr(attention, "q_norm") else None
        return cls(
            qkv=_side_by_side(projections, "weight"),
            qkv_bias=None if attention.q_proj.bias is None else _side_by_side(projections, "bias"),
            head_norms=norms,
            attention_out=attention.o_proj.weight,
            mlp=SharedAndExperts.of(layer.mlp) if hasattr(layer.mlp, "experts") else DenseMLP.of(layer.mlp),
            attention_norm=layer.input_layernorm.weight,
            mlp_norm=layer.post_attention_layernorm.weight,
        )


def _side_by_side(modules: Any, name: str) -> Tensor:
    parts = [getattr(module, name).detach() for module in modules]
    together = torch.cat(parts)
    for module, view in zip(modules, torch.split(together, [len(part) for part in parts]), strict=True):
        setattr(module, name, nn.Parameter(view, requires_grad=False))
    return together
