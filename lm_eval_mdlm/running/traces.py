"""Trace scores in Python: prompts, reasoning and gold answers in, log-probabilities of the answers out."""

from collections.abc import Sequence
from typing import Any

from ..backbones.backbone import Backbone
from ..engine.trace_scoring import TraceScore
from ..errors import UsageError
from ..options import values
from ..options.decoding import DecodingConfig
from .in_common import answer_in_common
from .planning import Answer
from .processes import ProcessGroup
from .trace_scoring import LIKELIHOODS, TraceScoreRequest


def score_traces(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    reasoning: Sequence[Sequence[int]],
    answers: Sequence[Answer],
    *,
    prefixes: Sequence[Sequence[int]] | None = None,
    likelihood: str = "one_pass",
    batch_size: int | str = "auto",
    group: ProcessGroup | None = None,
    progress: bool = False,
    journal: str | None = None,
    **options: Any,
) -> list[TraceScore]:
    """How probable each gold answer is once its reasoning, or the beginning of it, stands there.

    Args:
        backbone: From `load_backbone`.
        prompts: Token ids, at least one per prompt.
        reasoning: For each prompt the tokens at the template's reasoning positions, from the first one on.
        answers: For each prompt its gold answer, a text or token ids, at least one token.
        prefixes: For each prompt the numbers of reasoning tokens after which to score, from 0 to all; all other
            reasoning positions are masked then, and the whole answer segment always. None for one score of each trace,
            after all of its reasoning.
        likelihood: `one_pass` takes the answer's tokens, and the first end-of-text behind them, as independent, in one
            pass; `l2r` scores them by the chain rule, one pass each.
        batch_size: Canvases per pass, or `auto` to pack by tokens; changes no result.
        group: Shares the work under a launcher: every process passes the same arguments and gets all scores.
        progress: Show requests done and passes per second.
        journal: A folder that keeps finished requests; those that it has are not run again.
        **options: Of `DecodingConfig`: `template`, and `gen_length`, `cfg_scale`, `suppress_tokens` and `max_length`,
            as the traces were made; the sampler's have no effect.

    Returns:
        One record per prompt, in the order given.

    Raises:
        UsageError: For options or traces that do not fit the backbone or each other, before any pass is run.
    """

    def checked() -> list[TraceScoreRequest]:
        values.choice("likelihood", likelihood, LIKELIHOODS)
        config = DecodingConfig.from_options(options)
        requests = _requests(prompts, reasoning, answers, prefixes, config, likelihood)
        for i, request in enumerate(requests):
            try:
                request.plan(backbone)
            except UsageError as error:
                raise UsageError(f"trace {i}, counted from 0: {error}") from None
        return requests

    return answer_in_common(
        backbone,
        checked,
        what="prompts, reasoning, answers and options",
        batch_size=batch_size,
        group=group or ProcessGroup(alone=True),
        progress=progress,
        journal=journal,
    )


def _requests(
    prompts: Sequence[Sequence[int]],
    reasoning: Sequence[Sequence[int]],
    answers: Sequence[Answer],
    prefixes: Sequence[Sequence[int]] | None,
    config: DecodingConfig,
    likelihood: str,
) -> list[TraceScoreRequest]:
    each = [None] * len(prompts) if prefixes is None else prefixes
    if not len(prompts) or len({len(given) for given in (prompts, reasoning, answers, each)}) > 1:
        raise UsageError(
            f"prompts, reasoning, answers and prefixes must have one entry for each trace, and at least one, got "
            f"{len(prompts)}, {len(reasoning)}, {len(answers)} and {len(each)} of them."
        )
    return [
        TraceScoreRequest(
            prompt_ids=list(prompt),
            config=config,
            reasoning_ids=list(own),
            answer=answer if isinstance(answer, str) else list(answer),
            prefixes=None if numbers is None else list(numbers),
            likelihood=likelihood,
        )
        for prompt, own, answer, numbers in zip(prompts, reasoning, answers, each, strict=True)
    ]
