"""Experts of a layer by grouped products, without a wait for the host, each token's bits its own.

The rows that the tokens give to their experts are sorted by expert and cut into tiles, and one program multiplies one
tile with a stretch of its expert's weights from the first inner index to the last. So a row's sums run in one order,
whatever stands in its tile, and the number of launches does not depend on what the router chooses.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .experts_kernel import combine, gated_up, lay_tiles, product, project_down


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedExperts:
    """Weights of a layer's experts, and how they are chosen."""

    router: Float[Tensor, "E D"]
    logits_dtype: torch.dtype
    """Of the router's logits, as the network's own router has them."""
    selection: nn.Module
    """The network's own router with the identity for its weight, which is exact: it chooses by given logits."""
    gate_up: Float[Tensor, "E two_F D"]
    down: Float[Tensor, "E D F"]

    @classmethod
    def of(cls, mlp: Any) -> "FusedExperts":
        """Take over the experts and the router of a transformers module."""
        router, experts = mlp.gate, mlp.experts
        number, dtype = experts.num_experts, router.weight.dtype
        selection = copy.deepcopy(router)
        # Such a router computes in float32, and the others in the dtype of their weight.
        logits_dtype = torch.float32 if hasattr(router, "e_score_correction_bias") else dtype
        identity = torch.eye(number, dtype=logits_dtype, device=router.weight.device)
        selection.weight, selection.hidden_dim = nn.Parameter(identity, requires_grad=False), number
        return cls(
            router=router.weight.detach(),
            logits_dtype=logits_dtype,
            selection=selection,
            gate_up=experts.gate_up_proj.detach(),
            down=experts.down_proj.detach(),
        )

    def __call__(self, normed: Float[Tensor, "N D"], shared: Float[Tensor, "N D"] | None) -> Float[Tensor, "N D"]:
        """The weighted sum of each token's experts, plus `shared`."""
        _, weights, chosen = self.selection(product(normed, self.router, self.logits_dtype))
        per_token = chosen.shape[1]
        # Few bits: sorting goes through them.
        ordered, order = torch.sort(chosen.flatten().to(torch.int16))
        tiles = lay_tiles(ordered, len(self.router))
        activated = gated_up(normed, self.gate_up, order, tiles, per_token)
        return combine(project_down(activated, self.down, order, tiles), weights, shared)
