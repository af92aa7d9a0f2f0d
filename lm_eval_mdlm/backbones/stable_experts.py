"""Mixtures of experts as functions of transformers: which one runs where, and one with independent rows."""

from types import MethodType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeTopkRouter

from .invariance import MatrixProducts, stable_linear


ROW_BY_ROW = "mdlm_row_by_row"
"""Each expert's product over at least as many rows as make a row's bits independent of their number; for CPUs."""
GROUPED = "grouped_mm"
"""One grouped product for all experts, by transformers and torch."""


def best_experts(device: torch.device) -> str:
    """Name of transformers' function for experts on this kind of device."""
    return ROW_BY_ROW if device.type == "cpu" else GROUPED


def experts_row_by_row(
    module: Any,
    states: Float[Tensor, "T D"],
    chosen: Int[Tensor, "T k"],
    weights: Float[Tensor, "T k"],
) -> Float[Tensor, "T D"]:
    """The weighted sum of each token's chosen experts, with the same bits in any company.

    Args:
        module: Experts of transformers, gated: `gate_up_proj` (E, 2 I, D) and `down_proj` (E, D, I).
        states: What the experts are applied to.
        chosen: Indices of experts.
        weights: Of the sum.
    """
    products = MatrixProducts.on(states.device, states.dtype)
    wide = torch.promote_types(states.dtype, weights.dtype)
    parts = torch.zeros(*chosen.shape, states.shape[1], dtype=wide, device=states.device)
    for expert in sorted(set(chosen.flatten().tolist())):
        token, place = torch.where(chosen == expert)
        rows = pad(states[token], (0, 0, 0, products.padded(len(token)) - len(token)))
        gate, up = stable_linear(rows, module.gate_up_proj[expert]).chunk(2, dim=-1)
        mixed = stable_linear(module.act_fn(gate) * up, module.down_proj[expert])[: len(token)]
        parts[token, place] = mixed * weights[token, place, None]
    total: Tensor = parts[:, 0]
    for i in range(1, parts.shape[1]):  # one after the other, as a sum of torch's own chooses its order
        total = total + parts[:, i]
    return total.to(states.dtype)


def stable_route(
    router: Any, states: Float[Tensor, "*shape D"]
) -> tuple[Float[Tensor, "T E"], Float[Tensor, "T k"], Int[Tensor, "T k"]]:
    """What GLM-4-MoE's router gives, by a sigmoid whose bits depend on the value alone; see `StableSiLU`.

    A token's score for an expert is its sigmoid. For the choice a bias is added, the groups with the largest sums of
    their two best are admitted, and the best `top_k` of those taken; the weights are the scores without the bias.

    Args:
        router: Of transformers.
        states: What is to be routed.

    Returns:
        Raw scores, and weights and indices of the chosen experts.
    """
    logits = stable_linear(states.flatten(0, -2).float(), router.weight.float())
    scores = 1.0 / (1.0 + torch.exp(-logits))
    biased = scores + router.e_score_correction_bias
    grouped = biased.reshape(len(biased), router.num_group, -1)
    admitted = grouped.topk(2, dim=-1).values.sum(dim=-1).topk(router.topk_group, dim=-1).indices
    excluded = torch.ones(grouped.shape[:-1], dtype=torch.bool, device=grouped.device).scatter(-1, admitted, False)
    candidates = grouped.masked_fill(excluded[..., None], float("-inf")).flatten(-2)
    chosen = candidates.topk(router.top_k, dim=-1).indices
    weights = scores.gather(-1, chosen)
    if router.norm_topk_prob:
        weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
    return logits, weights * router.routed_scaling_factor, chosen


def stabilise_routers(network: nn.Module) -> None:
    """Give every such router of a network that runs on a CPU the stable sigmoid, in place."""
    for module in network.modules():
        # Versions before about 5.17 of transformers choose experts elsewhere, and keep their own sigmoid.
        if type(module) is Glm4MoeTopkRouter and hasattr(module, "num_group"):
            # Where a hook of accelerate brings the weights, it has put the forward that it calls there.
            place = "_old_forward" if hasattr(module, "_old_forward") else "forward"
            setattr(module, place, MethodType(stable_route, module))


ALL_EXPERTS_FUNCTIONS.register(ROW_BY_ROW, experts_row_by_row)
