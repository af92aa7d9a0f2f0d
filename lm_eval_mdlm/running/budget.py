"""How much a pass may hold: a number of rows, or as many tokens as the device's memory allows."""

import torch

from ..backbones.backbone import Backbone
from ..engine.schedule import Budget
from ..errors import UsageError
from ..options.values import integer


MOST_TOKENS = {"cuda": 16384, "cpu": 512}
"""Tokens of a packed pass under `batch_size="auto"`, at most: where the matrix units are saturated (600 TFLOP/s at
8192 tokens and 605 at 14336 on one H200, 8B shape in bfloat16), so that more would only make rows wait. One canvas
fills a CPU core already, and longer passes lose to its caches (`python -m benchmarks.cpu`)."""
HELD_PER_TOKEN = 8
"""Positions that rows with a cache keep between passes, at most, for each token that a pass computes: passes over part
of a canvas compute about an eighth of it, and rows beyond those that fill a pass would only wait."""
SHARE_OF_FREE_MEMORY = 0.8
"""What a pass may take of it; the rest is for the vocabulary's buffers and for fragmentation."""


def budget_of(
    backbone: Backbone, batch_size: int | str, max_rows: int | None = None, *, cached: bool = False
) -> Budget:
    """The limits of a forward pass: a number of rows, or `auto` for a number of tokens that free memory allows.

    Args:
        backbone: Loaded, so that its weights are no longer counted as free memory.
        batch_size: Rows, at least 1, or `auto`.
        max_rows: With `auto`, also a limit of rows.
        cached: Whether rows keep keys and values between passes.
    """
    if str(batch_size).split(":")[0] == "auto":
        tokens, held = _automatic_sizes(backbone, cached)
        return Budget(max_rows=max_rows, max_tokens=tokens, max_held=held)
    try:
        return Budget(max_rows=integer("batch_size", batch_size, minimum=1))
    except UsageError as error:
        raise UsageError(f"{error} batch_size=auto packs by tokens.") from None


def _automatic_sizes(backbone: Backbone, cached: bool) -> tuple[int, int | None]:
    """Tokens that a pass computes, and positions that rows hold between passes (None without a cache)."""
    kept = (backbone.memory_bytes_per_token or 0) if cached else 0
    if backbone.device.type != "cuda":
        tokens = MOST_TOKENS["cpu"]
        return tokens, HELD_PER_TOKEN * tokens if kept else None
    free, _ = torch.cuda.mem_get_info(backbone.device)
    # What torch's allocator holds without using it counts as taken there, and is as good as free here.
    free += torch.cuda.memory_reserved(backbone.device) - torch.cuda.memory_allocated(backbone.device)
    share = SHARE_OF_FREE_MEMORY * free
    # Room for a pass over whole canvases first, as every row begins with one; what is left holds more rows.
    tokens = max(1, min(MOST_TOKENS["cuda"], int(share / (backbone.bytes_per_token + kept))))
    if not kept:
        return tokens, None
    return tokens, max(1, min(HELD_PER_TOKEN * tokens, int((share - tokens * backbone.bytes_per_token) / kept)))
