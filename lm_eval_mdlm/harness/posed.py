"""Requests of the harness in the form of this package's questions, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..running.question import Origin, Question
from .stored import Counts


@dataclass(frozen=True, kw_only=True)
class Posed:
    """One question to the model; it answers one request or several."""

    question: Question
    indices: Sequence[int]
    """Of the requests that it answers."""
    replies: Callable[[Any], Sequence[tuple[Any, Counts]]]
    """From the question's record to each request's response, in the harness's form, and its counts."""


def origin_of(request: Any) -> Origin | None:
    """The document that a request is about; None if the harness does not say."""
    return None if request.doc_id is None else Origin(str(request.task_name), int(request.doc_id))
