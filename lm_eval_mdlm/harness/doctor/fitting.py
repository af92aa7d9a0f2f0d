"""Lines on whether gold answers fit a template's answer segment, and prompts the canvas."""

import math
from collections.abc import Sequence

from ...backbones.backbone import Backbone
from ...errors import UsageError
from ...running.generation import RowRequest
from ...running.planning import answer_ids, longest_canvas
from ...running.sizes import Size
from ..gold import gold_answer
from .asking import Asked
from .findings import Findings


QUANTILES = (0.5, 0.9, 0.99)
SHARE_TO_FIT = 0.99
"""Of the gold answers, which the length that is suggested has room for with an end of text behind them."""


def quantile(lengths: Sequence[int], share: float) -> int:
    """The smallest of the lengths that at least this share of them does not exceed."""
    return sorted(lengths)[max(math.ceil(share * len(lengths) - 1e-9), 1) - 1]


def suggested(lengths: Sequence[int]) -> int:
    """Length of an answer segment, tokens."""
    return quantile(lengths, SHARE_TO_FIT) + 1


def tell_golds(findings: Findings, backbone: Backbone, asked: Asked) -> None:
    """For a task whose template has one answer segment; nothing for others."""
    rows = [row for row in asked.questions if isinstance(row, RowRequest)]
    room = [length for row in rows if (length := _answer_length(row)) is not None]
    if not room:
        return
    try:
        golds = {request.doc_id: gold_answer(asked.task, request.doc) for request in asked.requests}
    except Exception as error:  # of the task's own code; it ends a run with gold_score alone
        reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        findings.warn(f"gold answers cannot be read: {reason}")
        return
    lengths = [len(answer_ids(backbone, gold)) for gold in golds.values() if gold is not None]
    if without := len(golds) - len(lengths):
        findings.warn(f"{without} of {len(golds)} documents have no gold answer; metadata gold_answer names it")
    if not lengths:
        return
    short = min(room)
    fitting = sum(length <= short for length in lengths)
    findings.mark(
        fitting == len(lengths),
        f"{fitting / len(lengths):.1%} of {len(lengths)} gold answers fit the answer segment of {short} tokens",
    )
    parts = [f"{share:.0%} {quantile(lengths, share)}" for share in QUANTILES]
    findings.ok(f"tokens of gold answers: {', '.join(parts)}, longest {max(lengths)}")
    findings.ok(f"suggested length: {suggested(lengths)}, room for {SHARE_TO_FIT:.0%} of them and an end of text")


def tell_prompts(findings: Findings, backbone: Backbone, asked: Asked, sizes: Sequence[Size]) -> None:
    """Whether prompts and regions, or contexts and texts, fit into a canvas."""
    cut = sum(size.truncated for size in sizes)
    longest = longest_canvas(backbone, asked.questions[0].config)  # type: ignore[attr-defined]
    what = "prompts" if asked.kind == "generate_until" else "contexts"
    findings.mark(not cut, f"{cut / len(sizes):.1%} of {len(sizes)} {what} are cut to fit max_length={longest}")


def _answer_length(row: RowRequest) -> int | None:
    template = row.config.resolved_template()
    lengths = [segment.length for segment in template.segments if segment.kind == "answer"] if template else []
    return lengths[0] if len(lengths) == 1 else None
