"""Generation in Python: prompts as token ids in, records out. Needs no lm_eval."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..backbones.backbone import Backbone
from ..engine.decode import decoding
from ..engine.job import Work
from ..engine.plan import RowPlan
from ..engine.record import FAILED, Generation
from ..engine.recorded import RecordedRow, decoding_on_record
from ..errors import UsageError
from ..options import values
from ..options.decoding import DecodingConfig
from .in_common import answer_in_common
from .planning import (
    Answer,
    check_answer_is_seen,
    fitted_to,
    lines_about,
    plan_row,
    template_holds_mask,
    text_holds_mask,
)
from .processes import ProcessGroup
from .question import Origin, Question


logger = logging.getLogger("lm_eval.mdlm")


@dataclass(frozen=True, kw_only=True)
class RowRequest(Question):
    """A region to be filled after a prompt."""

    prompt_ids: Sequence[int]
    config: DecodingConfig
    repeat: int = 0
    """Tells apart several samples of the same request."""
    answer: Answer | None = None
    """Fills the template's one answer segment from the first pass on; None to decode it."""
    gold: Sequence[int] = ()
    """Tokens from `gold_of`, whose log-probability becomes `Generation.gold_logprob`; none for no such score."""
    record_steps: bool = False
    """Fill `Generation.commit_steps`."""
    origin: Origin | None = None
    has_steps: ClassVar[bool] = True

    def plan(self, backbone: Backbone) -> RowPlan:
        """The same plan in every process; UsageError if the options do not fit the backbone."""
        plan = plan_row(backbone, self.prompt_ids, self.config, self.repeat, self.answer, self.gold)
        check_answer_is_seen(plan)
        return plan

    @property
    def is_cached(self) -> bool:
        return self.config.keeps

    def work(self, backbone: Backbone) -> Work[Generation]:
        row = yield from decoding(self.plan(backbone))
        return row.generation(self.record_steps)

    def recorded(self, backbone: Backbone) -> Work[tuple[Generation, RecordedRow]]:
        row = yield from decoding_on_record(self.plan(backbone))
        return row.generation(self.record_steps), row

    def failed(self, backbone: Backbone, nfe: int) -> Generation:
        plan = self.plan(backbone)
        return Generation(
            token_ids=list(plan.region.token_ids),
            text="" if plan.returns_text else None,
            nfe=nfe,
            tokens=0,
            stop=FAILED,
            truncated=plan.truncated,
        )

    def content(self) -> Mapping[str, Any]:
        own = {"prompt_ids": list(self.prompt_ids), "repeat": self.repeat, "record_steps": self.record_steps}
        if self.answer is not None:
            own["answer"] = self.answer if isinstance(self.answer, str) else list(self.answer)
        if self.gold:
            own["gold"] = list(self.gold)
        return {**own, "options": self.config.effective()}

    def restored(self, plain: Mapping[str, Any]) -> Generation:
        return Generation(**plain)


def generate(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    *,
    answers: Sequence[Answer | None] | None = None,
    repeat: int = 1,
    batch_size: int | str = "auto",
    group: ProcessGroup | None = None,
    progress: bool = False,
    record_steps: bool | str = False,
    journal: str | None = None,
    **options: Any,
) -> list[Generation]:
    """Decode a region for every prompt, or several.

    Args:
        backbone: From `load_backbone`.
        prompts: Token ids, at least one per prompt, special tokens included if wanted.
        answers: One per prompt, each a text, token ids, or None. A given answer stands in the template's one answer
            segment from the first pass on, followed by end-of-text tokens, so that the reasoning is decoded given it.
            None decodes that prompt's answer too.
        repeat: Samples of each prompt, at least 1.
        batch_size: Rows decoded together, or `auto` to pack by tokens; changes no result.
        group: Shares the work under a launcher: every process passes the same prompts and options and gets all
            records. Without it each process decodes all that it is given.
        progress: Show requests done, mean NFE and tokens per second.
        record_steps: True to fill `Generation.commit_steps`; the name of a folder to record every step there, for
            `read_steps`.
        journal: A folder that keeps finished requests; those that it has are not decoded again.
        **options: Decoding options by name, such as `sampler="med", entropy_threshold=0.2,
            gen_length=256, block_length=32`; see `DecodingConfig`.

    Returns:
        `repeat` records per prompt, those of the first prompt first. Equal prompts with equal answers give equal
        records; with more repeats, the first ones stay the same. A row for which the network returned no numbers is
        `failed`, unless all are.

    Raises:
        UsageError: For options that are unknown, out of range, or do not fit the backbone, and for an answer that does
            not fit its segment, before any pass is run. For a network that returns no numbers for any prompt.
    """
    group = group or ProcessGroup(alone=True)

    def checked() -> list[RowRequest]:
        config = DecodingConfig.from_options(options)
        first = _requests(prompts, answers, fitted_to(backbone, config), record_steps is True)
        for i, request in enumerate(first):
            _check(backbone, i, request)
        numbers = range(values.integer("repeat", repeat, minimum=1))
        requests = [dataclasses.replace(request, repeat=number) for request in first for number in numbers]
        if group.rank == 0:
            for line in (*lines_about(backbone, config), *_lines(backbone, requests)):
                logger.warning(line)
        return requests

    return answer_in_common(
        backbone,
        checked,
        what="prompts, answers and options",
        batch_size=batch_size,
        group=group,
        progress=progress,
        journal=journal,
        record_steps=record_steps if isinstance(record_steps, str) else None,
    )


def _requests(
    prompts: Sequence[Any], answers: Sequence[Any] | None, config: DecodingConfig, record_steps: bool
) -> list[RowRequest]:
    """One for each prompt."""
    if config.gold_score:
        raise UsageError("gold_score is for evaluations, whose documents have gold answers; leave it out here.")
    if not len(prompts):
        raise UsageError("prompts must hold at least one prompt, got none.")
    if answers is None:
        answers = [None] * len(prompts)
    if isinstance(answers, str) or len(answers) != len(prompts):
        raise UsageError(
            f"answers must hold one text, list of token ids or None for each of the {len(prompts)} prompts, got "
            f"{answers!r:.60}; leave it out to decode all answers."
        )
    return [
        RowRequest(
            prompt_ids=values.token_ids("prompt", "a list of token ids", prompt),
            config=config,
            answer=_answer(answer),
            record_steps=record_steps,
        )
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _check(backbone: Backbone, row: int, request: RowRequest) -> None:
    try:
        request.plan(backbone)
    except UsageError as error:
        if request.answer is None:
            raise
        raise UsageError(f"row {row}, counted from 0: {error}") from None


def _lines(backbone: Backbone, requests: Sequence[RowRequest]) -> Iterator[str]:
    """What the user should know of all rows, the options of which are the same."""
    config, ordinary = requests[0].config, "and was tokenised as ordinary text."
    if template_holds_mask(backbone, config):
        yield f"the text of the mask token stands in the template of all {len(requests)} rows, {ordinary}"
    texts = Counter(request.answer for request in requests if isinstance(request.answer, str))
    if held := sum(number for text, number in texts.items() if text_holds_mask(backbone, text)):
        yield f"the text of the mask token stands in the given answers of {held} of {len(requests)} rows, {ordinary}"
    if requests[-1].repeat and not config.draws:
        yield "all samples of a prompt are the same, since nothing is drawn; set a temperature above 0."


def _answer(raw: Any) -> Answer | None:
    if raw is None or isinstance(raw, str):
        return raw
    return values.token_ids("answer", "a text, a list of token ids, or None", raw)
