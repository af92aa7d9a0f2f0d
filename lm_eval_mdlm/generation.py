"""Generation in Python: prompts as token ids in, records out. Needs no lm_eval."""

from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from .backbones.backbone import Backbone
from .config import DecodingConfig
from .engine.decode import Budget, decode
from .engine.readout import Readout
from .engine.record import Generation
from .engine.row import RowPlan
from .errors import UsageError
from .planning import plan_row
from .values import integer


AUTO_TOKENS = {"cuda": 8192, "cpu": 2048}
"""Tokens of a packed pass under `batch_size="auto"`: enough to fill the matrix units, small beside the weights."""


def budget_of(backbone: Backbone, batch_size: int | str) -> Budget:
    """The limits of a forward pass: a number of rows, or `auto` for a number of tokens."""
    if str(batch_size).split(":")[0] == "auto":
        return Budget(max_tokens=AUTO_TOKENS.get(backbone.device.type, AUTO_TOKENS["cpu"]))
    try:
        return Budget(max_rows=integer("batch_size", batch_size, minimum=1))
    except UsageError as error:
        raise UsageError(f"{error} batch_size=auto packs by tokens.") from None


def generate(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    *,
    batch_size: int | str = "auto",
    progress: bool = False,
    record_steps: bool = False,
    **options: Any,
) -> list[Generation]:
    """Decode one region per prompt.

    Args:
        backbone: From `load_backbone`.
        prompts: Token ids, at least one per prompt, special tokens included if wanted.
        batch_size: Rows decoded together, or `auto` to pack by tokens; changes no result.
        progress: Show requests done, mean NFE and tokens per second.
        record_steps: Fill `Generation.commit_steps`.
        **options: Decoding options by name, such as `sampler="med", entropy_threshold=0.2,
            gen_length=256, block_length=32`; see `DecodingConfig`.

    Returns:
        One record per prompt, in the order given. Equal prompts give equal records.

    Raises:
        UsageError: For options that are unknown, out of range, or do not fit the backbone, before any pass is run.
    """
    if not len(prompts):
        raise UsageError("prompts must hold at least one prompt, got none.")
    config = DecodingConfig.from_options(options)
    plans = [plan_row(backbone, _token_ids(prompt), config) for prompt in prompts]
    return run(backbone, plans, batch_size=batch_size, progress=progress, record_steps=record_steps)


def _token_ids(prompt: Any) -> list[int]:
    ids = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if not isinstance(ids, (list, tuple)) or not all(isinstance(token, int) for token in ids):
        raise UsageError(f"each prompt must be a list of token ids, got {prompt!r:.60}; encode it with the tokenizer.")
    return list(ids)


def run(
    backbone: Backbone,
    plans: Sequence[RowPlan],
    *,
    batch_size: int | str,
    progress: bool,
    record_steps: bool = False,
    on_finish: Callable[[int, Generation], None] = lambda index, generation: None,
) -> list[Generation]:
    """Decode plans; `on_finish` is called with each index and record as soon as that row is finished."""
    done: dict[int, Generation] = {}
    nfe = tokens = 0
    budget = budget_of(backbone, batch_size)
    with tqdm(total=len(plans), disable=not progress, desc="mdlm", unit="request", smoothing=0.05) as bar:
        for index, row in decode(Readout(backbone), plans, budget):
            generation = done[index] = row.generation(record_steps)
            on_finish(index, generation)
            nfe += generation.nfe
            tokens += generation.tokens
            bar.update()
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix(
                nfe=f"{nfe / len(done):.1f}", tokens_per_s=f"{tokens / max(elapsed, 1e-9):.1f}", refresh=False
            )
    return [done[index] for index in range(len(plans))]
