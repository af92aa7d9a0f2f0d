"""From a finished row and its request to the arrays that a recording holds."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..engine.plan import RowPlan
from ..engine.recorded import RecordedRow, Step
from ..recordings.steps import Steps
from .question import Question


Number = TypeVar("Number", bound=np.generic)


def steps_of(question: Question, row: RecordedRow, key: str) -> Steps:
    """Everything that happened to a row.

    Args:
        question: Has steps.
        row: Finished.
        key: Of the request.
    """
    plan, taken, content, origin = row.plan, row.steps_taken, question.content(), question.origin
    prompt = content["prompt_ids"]
    return Steps(
        key=key,
        task=None if origin is None else origin.task,
        doc_id=None if origin is None else origin.doc_id,
        repeat=content["repeat"],
        prompt_ids=np.array(prompt, dtype=np.int64),
        num_cut=len(prompt) - len(plan.prompt_ids),
        region_ids=np.array(plan.region.token_ids, dtype=np.int64),
        segments=tuple(("given" if span.given else span.kind, span.start, span.stop) for span in plan.region.spans),
        mask_token_id=plan.mask_token_id,
        end_token_ids=plan.text_rule.end_token_ids,
        options=content["options"],
        nfe=row.steps * plan.nfe_per_step,
        nfe_partial=row.partial_steps * plan.nfe_per_step,
        stop=row.stop,
        ends=_ends([len(step.positions) for step in taken]),
        positions=_joined([step.positions for step in taken], np.int64),
        tokens=_joined([step.tokens for step in taken], np.int64),
        entropy=_joined([step.entropy for step in taken], np.float32),
        confidence=_joined([step.confidence for step in taken], np.float32),
        log_prob=_joined([step.log_prob for step in taken], np.float32),
        answer_entropy=np.array([_number(step) for step in taken], dtype=np.float64),
        partial=np.array([step.is_partial for step in taken], dtype=np.bool_),
        remasked_ends=_ends([len(step.remasked) for step in taken]),
        remasked=_joined([step.remasked for step in taken], np.int64),
        texts=_texts(plan, taken),
    )


def _texts(plan: RowPlan, taken: list[Step]) -> dict[int, str]:
    """Of every token in the region but the mask; none without a tokenizer."""
    spell = plan.text_rule.write
    if spell is None:
        return {}
    tokens = {*plan.region.token_ids, *(token for step in taken for token in step.tokens.tolist())}
    return {token: spell([token]) for token in sorted(tokens - {plan.mask_token_id})}


def _number(step: Step) -> float:
    return np.nan if step.answer_entropy is None else step.answer_entropy


def _ends(lengths: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _joined(parts: list[NDArray[Number]], dtype: type[Number]) -> NDArray[Number]:
    return np.concatenate([*parts, np.empty(0, dtype=dtype)]).astype(dtype)
