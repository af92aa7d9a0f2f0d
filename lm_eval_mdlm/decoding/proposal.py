"""Which token a position would take, when it is not simply the most likely one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
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

    def of_part(self, number: int) -> "RowKey":
        """The source of a part's own random numbers; part 0 takes those of the whole."""
        content = self.digest + repr(("part", number)).encode()
        return RowKey(hashlib.blake2b(content, digest_size=16).digest()) if number else self

    def seed(self, purpose: str, *where: int) -> int:
        """A seed in [0, 2**128) for one purpose at one place, such as a step and a position."""
        content = self.digest + repr((purpose, *where)).encode()
        return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")

    def generator(self, purpose: str, *where: int) -> np.random.Generator:
        """A generator of its own for one purpose at one place, from `seed`."""
        return _generator(self.seed(purpose, *where))

    def order_noise(self, step: int, length: int) -> Float[Tensor, " L"]:
        """Uniform noise in [0, 1) for every position of the region, for a random order of commits."""
        return torch.from_numpy(self.generator("order", step).random(length, dtype=np.float32))


def _generator(seed: int) -> np.random.Generator:
    # Counter-based, with all 128 bits as its key; torch's own generator on a CPU drops all but 32 bits of a seed.
    return np.random.Generator(np.random.Philox(key=seed))


def gumbel_argmax(logits: Logits, temperatures: Sequence[float], seeds: Sequence[int]) -> Int[Tensor, " R"]:
    """One sample per row from `softmax(logits / temperature)`.

    The largest of `logits / temperature` plus standard Gumbel noise is distributed so. Float64, because
    float32 noise cuts off the tails and biases the samples (Zheng et al. 2024, arXiv:2409.02908).

    Args:
        logits: `-inf` marks a forbidden token, which is never drawn.
        temperatures: One per row, above 0.
        seeds: One per row, in [0, 2**128). A draw depends on nothing but its seed and the kind of device.
    """
    noise = _gumbel_noise(seeds, logits.shape[1], logits.device)
    divisors = torch.tensor(temperatures, dtype=torch.float64).to(logits.device, non_blocking=True)
    return noise.add_(logits.double().div_(divisors[:, None])).argmax(dim=-1)


def _gumbel_noise(seeds: Sequence[int], size: int, device: torch.device) -> Float64[Tensor, "R V"]:
    """Standard Gumbel noise, each row from a generator of its own."""
    noise = torch.empty(len(seeds), size, dtype=torch.float64, device=device)
    for row, seed in zip(noise, seeds, strict=True):
        if device.type == "cpu":
            # Transformed in a buffer of its own: how a CPU evaluates a logarithm may depend on where it lies.
            uniform = torch.empty(size, dtype=torch.float64).copy_(torch.from_numpy(_generator(seed).random(size)))
            row.copy_(_as_gumbel(uniform))
        else:
            row.uniform_(generator=torch.Generator(device).manual_seed(seed >> 64))  # as many bits as it takes
    return noise if device.type == "cpu" else _as_gumbel(noise)


def _as_gumbel(uniform: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """Turn uniform numbers into standard Gumbel noise, in place."""
    return uniform.log_().neg_().log_().neg_()
