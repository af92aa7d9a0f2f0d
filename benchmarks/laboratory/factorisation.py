"""What a step loses by drawing its positions independently, and the bounds that it must not exceed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.laboratory.joint import Joint
from lm_eval_mdlm.decoding.policies import EntropyBound, MultiTokenEntropy, UnmaskPolicy


ROUNDING = 1e-5
"""Nats for each position: the samplers read entropies in float32."""


class BoundExceeded(RuntimeError):
    """A step lost more than can be lost."""


@dataclass(frozen=True, eq=False)
class Factorisation:
    """M steps: the divergence of the committed positions' joint posterior from the product of its marginals."""

    size: NDArray[np.int64]
    """Positions committed."""
    error: NDArray[np.float64]
    """KL(joint, product) = sum of entropies - joint entropy, nats."""
    bound: NDArray[np.float64]
    """Sum of entropies less the largest: the joint entropy is at least the largest."""

    @property
    def largest_share(self) -> float | None:
        """Of its bound that a step's error takes; None where no step has a bound to speak of."""
        told = self.bound > ROUNDING * self.size
        return float((self.error[told] / self.bound[told]).max()) if told.any() else None

    def check(self, policy: UnmaskPolicy, what: str) -> None:
        """Raise BoundExceeded if a step's error is above its bound, or the bound above what the sampler promises."""
        self._never_above(self.error, self.bound, f"{what}: error", "sum of entropies less the largest")
        if isinstance(policy, MultiTokenEntropy):
            own = policy.entropy_threshold * np.where(self.size > 1, self.size, 0)
            self._never_above(self.error, own, f"{what}: error", "entropy_threshold times positions")
        if isinstance(policy, EntropyBound):
            own = np.full_like(self.bound, policy.entropy_bound)
            self._never_above(self.bound, own, f"{what}: sum of entropies less the largest", "entropy_bound")

    def _never_above(self, left: NDArray[np.float64], right: NDArray[np.float64], what: str, bound: str) -> None:
        above = left - right - ROUNDING * self.size
        worst = int(above.argmax())
        if not above[worst] <= 0:  # NaN too
            raise BoundExceeded(
                f"{what} {left[worst]:.6g} nats is above the {bound}, {right[worst]:.6g}, in a step of "
                f"{self.size[worst]} positions."
            )


def factorisation(joint: Joint, canvases: Int[Tensor, "M L"], chosen: Bool[Tensor, "M L"]) -> Factorisation:
    """Of every step; texts that are not plain chains must be few enough to be listed."""
    entropies = torch.special.entr(joint.log_posterior(canvases).exp()).sum(-1) * chosen
    total, largest = entropies.sum(1), entropies.max(1).values
    if joint.is_plain_chain:
        together = joint.joint_entropy(canvases, chosen)
    else:
        together = listed_entropy(joint, canvases, chosen)
    return Factorisation(chosen.sum(1).numpy(), (total - together).numpy(), (total - largest).numpy())


def listed_entropy(joint: Joint, canvases: Int[Tensor, "M L"], chosen: Bool[Tensor, "M L"]) -> Float64[Tensor, " M"]:
    """Joint entropy of the chosen positions given the fixed ones, nats, by summing over all texts."""
    table = joint.probabilities.numpy().reshape((joint.vocab_size,) * joint.length)
    found = torch.empty(len(canvases), dtype=torch.float64)
    for i, (canvas, own) in enumerate(zip(canvases.tolist(), chosen.tolist(), strict=True)):
        open_ = table[tuple(slice(None) if token == joint.vocab_size else token for token in canvas)]
        masked = [is_chosen for token, is_chosen in zip(canvas, own, strict=True) if token == joint.vocab_size]
        left = open_.sum(axis=tuple(axis for axis, is_chosen in enumerate(masked) if not is_chosen))
        found[i] = torch.special.entr(torch.as_tensor(left / left.sum())).sum()
    return found
