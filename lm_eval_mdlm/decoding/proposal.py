"""Which token a position would take, when it is not simply the most likely one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .types import Logits


@dataclass(frozen=True)
class RowKey:
    """The source of a row's random numbers: its seed and its own content, never its place in a batch."""

    digest: bytes

    @classmethod
    def of(cls, seed: int, prompt_ids: Sequence[int], region_ids: Sequence[int], repeat: int) -> "RowKey":
        """Key of a request; `repeat` tells apart several samples of one request (as pass@k needs)."""
        content = repr((seed, list(prompt_ids), list(region_ids), repeat)).encode()
        return cls(hashlib.blake2b(content, digest_size=16).digest())

    def seed(self, purpose: str, *where: int) -> int:
        """A seed in [0, 2**63) for one purpose at one place, such as a step and a position."""
        content = self.digest + repr((purpose, *where)).encode()
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 1

    def order_noise(self, step: int, length: int) -> Float[Tensor, " L"]:
        """Uniform noise in [0, 1) for every position of the region, for a random order of commits."""
        generator = torch.Generator().manual_seed(self.seed("order", step))
        return torch.rand(length, generator=generator)


def gumbel_argmax(logits: Logits, temperature: float, seeds: Sequence[int]) -> Int[Tensor, " R"]:
    """One sample per row from `softmax(logits / temperature)`.

    The largest of `logits / temperature` plus standard Gumbel noise is distributed so. Float64, because
    float32 noise cuts off the tails and biases the samples (Zheng et al. 2024, arXiv:2409.02908).

    Args:
        logits: `-inf` marks a forbidden token, which is never drawn.
        temperature: Above 0.
        seeds: One per row. Each row has a generator of its own, so that a draw depends on nothing but its seed
            and the kind of device.
    """
    samples = []
    for row, seed in zip(logits, seeds, strict=True):  # row by row: one [V] float64 buffer, whatever R is
        generator = torch.Generator(logits.device).manual_seed(seed)
        uniform = torch.rand(row.shape, generator=generator, dtype=torch.float64, device=row.device)
        samples.append((row.double() / temperature - (-uniform.log()).log()).argmax())
    return torch.stack(samples)
