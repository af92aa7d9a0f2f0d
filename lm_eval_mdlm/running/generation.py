"""Generation in Python: prompts as token ids in, records out. Needs no lm_eval."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from ..backbones.backbone import Backbone
from ..engine.decode import Budget, decode
from ..engine.readout import Readout
from ..engine.record import Generation
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from ..options.values import integer
from .planning import template_holds_mask
from .processes import ProcessGroup
from .work_sharing import Pool, RowRequest, Ticket, Totals


logger = logging.getLogger("lm_eval.mdlm")
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


def generate(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    *,
    batch_size: int | str = "auto",
    group: ProcessGroup | None = None,
    progress: bool = False,
    record_steps: bool = False,
    **options: Any,
) -> list[Generation]:
    """Decode one region per prompt.

    Args:
        backbone: From `load_backbone`.
        prompts: Token ids, at least one per prompt, special tokens included if wanted.
        batch_size: Rows decoded together, or `auto` to pack by tokens; changes no result.
        group: Shares the work under a launcher: every process passes the same prompts and options and gets all
            records. Without it each process decodes all that it is given.
        progress: Show requests done, mean NFE and tokens per second.
        record_steps: Fill `Generation.commit_steps`.
        **options: Decoding options by name, such as `sampler="med", entropy_threshold=0.2,
            gen_length=256, block_length=32`; see `DecodingConfig`.

    Returns:
        One record per prompt, in the order given. Equal prompts give equal records.

    Raises:
        UsageError: For options that are unknown, out of range, or do not fit the backbone, before any pass is run.
    """
    group = group or ProcessGroup(alone=True)
    size = group.world_size

    def checked() -> list[RowRequest]:
        if not len(prompts):
            raise UsageError("prompts must hold at least one prompt, got none.")
        config = DecodingConfig.from_options(options)
        requests = [RowRequest(prompt_ids=_token_ids(prompt), config=config) for prompt in prompts]
        for request in requests:
            request.plan(backbone)
        return requests

    asked = group.everyones(checked)
    if group.rank == 0 and template_holds_mask(backbone, asked[0][0].config):
        logger.warning(
            "the text of the mask token stands in the template of all %d rows, and was tokenised as ordinary text.",
            len(prompts),
        )
    if any(other != asked[0] for other in asked):
        raise UsageError("prompts and options must be the same in all processes of a group, and they differ.")
    budget = budget_of(backbone, batch_size, cached=asked[0][0].config.cache != "none")
    sections = [asked[0][i::size] for i in range(size)]
    show = progress and group.rank == 0
    own = run(backbone, sections, group=group, budget=budget, progress=show, record_steps=record_steps)
    parts = group.everyones(lambda: own.generations)
    return [parts[i % size][i // size] for i in range(len(prompts))]


def _token_ids(prompt: Any) -> list[int]:
    ids = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if not isinstance(ids, (list, tuple)) or not all(isinstance(token, int) for token in ids):
        raise UsageError(f"each prompt must be a list of token ids, got {prompt!r:.60}; encode it with the tokenizer.")
    return list(ids)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The outcome of `run` in one process."""

    generations: list[Generation]
    """Of the requests of this process, in their order, whoever decoded them."""
    nfe_by_process: list[int]
    """Forward passes that each process ran for its rows, by rank."""


def run(
    backbone: Backbone,
    sections: Sequence[Sequence[RowRequest]],
    *,
    group: ProcessGroup,
    budget: Budget,
    progress: bool,
    record_steps: bool = False,
    on_finish: Callable[[int, Generation], None] = lambda index, generation: None,
) -> Decoded:
    """Decode the requests of all processes together; collective.

    Args:
        backbone: The same network in every process.
        sections: The requests of each process, by rank, checked by it; the same in all processes.
        group: The processes.
        budget: Limits of a pass in this process.
        progress: Show the progress of all processes.
        record_steps: Fill `Generation.commit_steps`.
        on_finish: Called with the index and the record of each request of this process: as soon as the row is
            finished if this process decodes it, after all others are finished if another process did.

    Raises:
        UsageError: If the network returns NaN, or a single row does not fit into memory. Whatever fails in one
            process, the others finish the rows they have begun, and raise an error that names it.
    """
    pool = Pool(group, sections)
    own: dict[int, Generation] = {}

    def keep(ticket: Ticket, generation: Generation) -> bool:
        if ticket.owner == group.rank:
            own[ticket.index] = generation
            on_finish(ticket.index, generation)
        return ticket.owner == group.rank

    with tqdm(total=len(pool), disable=not progress, desc="mdlm", unit="request", smoothing=0.05) as bar:

        def decode_share() -> tuple[dict[Ticket, Generation], int]:
            nfe = 0
            for_others: dict[Ticket, Generation] = {}
            for ticket, row in decode(Readout(backbone), pool.draw(backbone), pool.within(budget)):
                generation = row.generation(record_steps)
                nfe += generation.nfe
                if not keep(ticket, generation):
                    for_others[ticket] = generation
                _show(bar, pool.count(generation))
            return for_others, nfe

        shares = group.everyones(lambda: pool.closed_on_error(decode_share))
        for from_others, _ in shares:
            for ticket, generation in from_others.items():
                keep(ticket, generation)
        bar.update(len(pool) - bar.n)
    return Decoded(
        generations=[own[index] for index in range(len(sections[group.rank]))],
        nfe_by_process=[nfe for _, nfe in shares],
    )


def _show(bar: "tqdm[Any]", totals: Totals) -> None:
    bar.update(totals.rows - bar.n)
    speed = totals.tokens / max(bar.format_dict["elapsed"], 1e-9)
    bar.set_postfix(nfe=f"{totals.nfe / totals.rows:.1f}", tokens_per_s=f"{speed:.1f}", refresh=False)
