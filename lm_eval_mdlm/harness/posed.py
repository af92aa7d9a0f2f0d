"""Requests of the harness in the form of this package's questions, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..running.question import Question
from .stored import Counts


@dataclass(frozen=True, kw_only=True)
class Posed:
    """One question to the model; it answers one request or several."""

    question: Question
    indices: Sequence[int]
    """Of the requests that it answers."""
    replies: Callable[[Any], Sequence[tuple[Any, Counts]]]
    """From the question's record to each request's response, in the harness's form, and its counts."""
