"""Generation in Python: prompts as token ids in, records out. Needs no lm_eval."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backbones.backbone import Backbone
from ..engine.decode import decoding
from ..engine.job import Work
from ..engine.record import Generation
from ..engine.row import RowPlan
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from .answering import run
from .budget import budget_of
from .known import known_in
from .planning import plan_row, template_holds_mask
from .processes import ProcessGroup
from .question import Question


logger = logging.getLogger("lm_eval.mdlm")


@dataclass(frozen=True, kw_only=True)
class RowRequest(Question):
    """A region to be filled after a prompt."""

    prompt_ids: Sequence[int]
    config: DecodingConfig
    repeat: int = 0
    """Tells apart several samples of the same request."""
    record_steps: bool = False
    """Fill `Generation.commit_steps`."""

    def plan(self, backbone: Backbone) -> RowPlan:
        """The same plan in every process; UsageError if the options do not fit the backbone."""
        return plan_row(backbone, self.prompt_ids, self.config, self.repeat)

    def work(self, backbone: Backbone) -> Work[Generation]:
        row = yield from decoding(self.plan(backbone))
        return row.generation(self.record_steps)

    def content(self) -> Mapping[str, Any]:
        own = {"prompt_ids": list(self.prompt_ids), "repeat": self.repeat, "record_steps": self.record_steps}
        return {**own, "options": self.config.effective()}

    def restored(self, plain: Mapping[str, Any]) -> Generation:
        return Generation(**plain)


def generate(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    *,
    batch_size: int | str = "auto",
    group: ProcessGroup | None = None,
    progress: bool = False,
    record_steps: bool = False,
    journal: str | None = None,
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
        journal: A folder that keeps finished requests; those that it has are not decoded again.
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
        requests = [
            RowRequest(prompt_ids=_token_ids(prompt), config=config, record_steps=record_steps) for prompt in prompts
        ]
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
    with known_in(journal, backbone, group) as known:
        own = run(backbone, sections, group=group, budget=budget, progress=show, known=known)
    parts = group.everyones(lambda: own.records)
    return [parts[i % size][i // size] for i in range(len(prompts))]


def _token_ids(prompt: Any) -> list[int]:
    ids = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if not isinstance(ids, (list, tuple)) or not all(isinstance(token, int) for token in ids):
        raise UsageError(f"each prompt must be a list of token ids, got {prompt!r:.60}; encode it with the tokenizer.")
    return list(ids)
