"""An evaluation's prompts without the evaluation, for questions that the harness does not ask."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..running.generation import RowRequest
from .evaluation import Started, evaluating
from .model import MDLM


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """What an evaluation's command line says of prompts and options."""

    gen_kwargs: Mapping[str, Any]
    chat_template: bool | str = False
    fewshot_as_multiturn: bool | None = None
    """Unset: wherever there is a chat template, as in an evaluation."""
    system_instruction: str | None = None


def prompts_of(model: MDLM, task: Any, doc_ids: Sequence[int], prompting: Prompting) -> list[tuple[str, RowRequest]]:
    """Each document's prompt as an evaluation by one process would write it, and the row that it would pose.

    Args:
        model: Tokenises them and checks their options.
        task: Generates; one request for each document.
        doc_ids: Ascending, at least one.
        prompting: The command line's part.

    Raises:
        UsageError: For options or a prompt that cannot be.
    """
    source, multiturn = prompting.chat_template, prompting.fewshot_as_multiturn
    started = Started(gen_kwargs=prompting.gen_kwargs, chat_template=source, tasks=(task,))
    with evaluating(model, started) as run:
        # All documents up to the last, whichever are wanted, because random shots go on from one to the next.
        task.build_all_requests(
            limit=doc_ids[-1] + 1,
            system_instruction=prompting.system_instruction,
            apply_chat_template=bool(source),
            fewshot_as_multiturn=bool(source) if multiturn is None else multiturn,
            chat_template=model.apply_chat_template if source else None,
        )
        by_doc = {instance.doc_id: instance for instance in task.instances}
        requests = [by_doc[doc_id] for doc_id in doc_ids]
        rows: list[RowRequest] = [posed.question for posed in model.posed(requests, run)]  # type: ignore[misc]
    if source:
        rows = [_as_it_stands(row) for row in rows]
    return [(request.args[0], row) for request, row in zip(requests, rows, strict=True)]


def _as_it_stands(row: RowRequest) -> RowRequest:
    """With the option that says of a rendered prompt what was done, for whoever has only the text and the options."""
    if row.config.add_bos_token is not None:
        return row
    return dataclasses.replace(row, config=dataclasses.replace(row.config, add_bos_token=False))
