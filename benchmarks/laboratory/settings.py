"""The samplers of the laboratory with their settings. A new sampler is one line of `GRIDS`."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval_mdlm.options.decoding import DecodingConfig


Options = Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """One sampler at several settings."""

    settings: Sequence[Options]
    """Decoding options, the sampler's name among them; one block and temperature 1 unless they say otherwise."""
    looks_at_tokens: bool = False
    """Whether positions depend on drawn tokens, commits are undone, or tokens come from other distributions than the
    network's: then the law of its texts is known from samples alone."""


def over(option: str, *values: Any, **fixed: Any) -> list[Options]:
    """Settings that differ in one option."""
    return [{**fixed, option: value} for value in values]


GRIDS: Mapping[str, Grid] = {
    "k, entropy": Grid(over("k", 1, 2, 3, 4, 6, 8, sampler="fixed_k")),
    "k, confidence": Grid(over("k", 1, 2, 3, 4, 6, 8, sampler="fixed_k", score="confidence")),
    "k, margin": Grid(over("k", 1, 2, 3, 4, 6, 8, sampler="fixed_k", score="margin")),
    "k, random": Grid(over("k", 1, 2, 3, 4, 6, 8, sampler="fixed_k", score="random")),
    "k, left to right": Grid(over("k", 1, 2, 3, 4, 6, 8, sampler="fixed_k", score="left_to_right")),
    "steps, confidence": Grid(over("steps", 1, 2, 3, 5, 7, 12, 16, 24, sampler="fixed_k", score="confidence")),
    "k = 2 in blocks": Grid(over("block_length", 2, 3, 4, 6, 8, sampler="fixed_k", k=2)),
    "med": Grid(over("entropy_threshold", 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, sampler="med")),
    "med, k_max = 2": Grid(over("entropy_threshold", 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, sampler="med", k_max=2)),
    "med in blocks of 4": Grid(
        over("entropy_threshold", 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, sampler="med", block_length=4)
    ),
    "entropy_bound": Grid(over("entropy_bound", 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, sampler="entropy_bound")),
    "confidence_threshold": Grid(
        over("confidence_threshold", 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, sampler="confidence_threshold")
    ),
    "confidence_factor": Grid(over("factor", 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, sampler="confidence_factor")),
    "klass": Grid(over("confidence_threshold", 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, sampler="klass", kl_threshold=0.1)),
    "credit": Grid(
        over("confidence_threshold", 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, sampler="credit"), looks_at_tokens=True
    ),
    "local_leap": Grid(
        [
            {"sampler": "local_leap", "confidence_threshold": sure, "relaxed_threshold": sure - 0.2}
            for sure in (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
        ]
    ),
    "dream, entropy": Grid(over("steps", 1, 2, 4, 6, 8, 16, 32, sampler="dream"), looks_at_tokens=True),
    "dream, origin": Grid(over("steps", 1, 2, 4, 8, 16, 32, 64, sampler="dream", alg="origin"), looks_at_tokens=True),
    "slow_fast": Grid(over("confidence_threshold", 0.95, 0.85, 0.7, 0.6, 0.5, 0.4, sampler="slow_fast")),
    "ada_block": Grid(
        over(
            "confidence_threshold", 0.95, 0.9, 0.7, 0.6, 0.5, 0.4, sampler="ada_block", delimiters=(0,), block_length=4
        )
    ),
    "sliding_block": Grid(
        over("confidence_threshold", 0.95, 0.9, 0.7, 0.6, 0.5, 0.4, sampler="sliding_block", block_length=4)
    ),
    "dus": Grid(over("remask_below", 0.0, 0.2, 0.3, 0.5, 0.7, sampler="dus")),
    "remdm": Grid(over("remdm_loops", 0, 1, 2, 4, 8, 16, sampler="remdm"), looks_at_tokens=True),
    "edit": Grid(
        over("confidence_threshold", 0.95, 0.9, 0.7, 0.6, 0.5, 0.4, sampler="edit", edit_threshold=0.9),
        looks_at_tokens=True,
    ),
    "med, min_distance = 8": Grid(
        over("entropy_threshold", 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, sampler="med", min_distance=8.0)
    ),
}


def config_of(options: Options, length: int) -> DecodingConfig:
    """The options as the package checks them, for a region of `length` masks.

    Raises:
        UsageError: If they are not what the package takes.
    """
    whole = DecodingConfig.from_options({"temperature": 1.0, "gen_length": length, **options})
    if whole.block_length is None and whole.policy().has_fixed_blocks:
        return dataclasses.replace(whole, block_length=length)
    return whole


def named(options: Options) -> str:
    """What tells a setting apart in a table."""
    return ", ".join(f"{name}={value}" for name, value in options.items() if name != "sampler")
