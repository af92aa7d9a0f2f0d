"""Decoding options as one network takes them: what is unset by its kind's defaults, and what does not fit refused."""

import dataclasses

from ..engine.cache import CACHES, EXACT
from ..errors import UsageError
from .decoding import DecodingConfig


def fitted(
    config: DecodingConfig, *, grid_block: int | None, keeps: bool, keeps_none_because: str = "is not for this network"
) -> DecodingConfig:
    """The options with defaults that depend on the network filled in; of a fitted one, the same.

    Args:
        config: Checked.
        grid_block: The network's positions per grid block; None where every token sees its whole canvas.
        keeps: Whether the network can keep keys and values between passes.
        keeps_none_because: How an error goes on that names a cache, where it cannot.

    Raises:
        UsageError: If the options do not fit the network.
    """
    if config.cache not in (None, "none") and not keeps:
        raise UsageError(f"cache={config.cache} {keeps_none_because}")
    if grid_block is not None:
        return _on_grid(config, grid_block, keeps)
    if config.cache == EXACT:
        stale = " or ".join(name for name, cache in CACHES.items() if not cache.is_exact)
        raise UsageError(
            f"cache={EXACT} needs a network whose tokens do not see later blocks, and this one's see everything; leave "
            f"cache out, or choose {stale}."
        )
    return dataclasses.replace(
        config, cache=config.cache or "none", stop_when_settled=config.stop_when_settled or False
    )


def _on_grid(config: DecodingConfig, grid_block: int, keeps: bool) -> DecodingConfig:
    if not config.policy().has_fixed_blocks:
        raise UsageError(
            f"sampler={config.sampler} has no fixed blocks, and this checkpoint sees no further than its blocks of "
            f"{grid_block} positions; choose another sampler."
        )
    if config.block_length not in (None, grid_block):
        raise UsageError(
            f"block_length must be the checkpoint's own {grid_block}, got {config.block_length}; leave it out "
            f"(block_length=None takes a task's away)."
        )
    if config.cache not in (None, "none", EXACT):
        raise UsageError(
            f"cache={config.cache} is approximate, and a block-causal checkpoint has an exact cache of its own; leave "
            f"cache out, or set cache=none to recompute everything."
        )
    settled = config.stop_when_settled
    return dataclasses.replace(
        config,
        block_length=grid_block,
        cache=config.cache or (EXACT if keeps else "none"),
        stop_when_settled=True if settled is None else settled,
    )
