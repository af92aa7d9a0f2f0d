"""Reads files of traces: JSON Lines as `posterior` writes them, refused with the line number where they cannot be."""

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import only_a_file
from ..scoring.equations import arithmetic_is_right


ARITHMETIC = "arithmetic"
"""The label that is worked out: whether all equations of the reasoning hold."""
TEXTS = ("prompt", "solution", "answer")
"""What every trace has."""
LAYOUT = ("template", "reasoning_tokens")
"""What it also takes to put a trace back on its canvas."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(token, int) and not isinstance(token, bool) for token in value)


_WANTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(TEXTS, (_is_text, "a string")),
    "template": (lambda value: isinstance(value, list) and bool(value), "a list of segments"),
    "reasoning_tokens": (_are_ids, "a list of token ids"),
    "score": (lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max, "a number"),
}


@dataclass(frozen=True)
class Trace:
    """One line of a file."""

    path: Path
    line: int
    """From 1; for messages."""
    record: Mapping[str, Any]
    """All that the line holds; what this package does not know is kept."""

    def get(self, key: str) -> Any:
        """A value of the line, as `posterior` and `score` write it.

        Raises:
            UsageError: If it is not there, or not of the kind that it should be.
        """
        found = self.record.get(key)
        is_sound, wanted = _WANTED.get(key, (lambda value: True, "there"))
        if key not in self.record or not is_sound(found):
            got = f"{found!r:.60}" if key in self.record else "nothing"
            step = "run lm-eval-mdlm score first" if key == "score" else "use a file that lm-eval-mdlm posterior wrote"
            raise self.refused(f"{key!r} must be {wanted}, got {got}; {step}.")
        return found

    def refused(self, why: str) -> UsageError:
        """An error that names the line."""
        return UsageError(f"{self.path}, line {self.line}: {why}")

    @property
    def solution(self) -> str:
        """The text of the reasoning."""
        return str(self.get("solution"))

    @property
    def document(self) -> tuple[str, str]:
        """Tells documents apart: the task's name and number of it, or else the prompt."""
        task, number = self.record.get("task", ""), self.record.get("doc_id")
        return str(task), str(self.get("prompt") if number is None else number)

    @functools.cached_property
    def arithmetic(self) -> bool | None:
        """Whether all equations of the reasoning hold; None without one."""
        return arithmetic_is_right(self.solution)

    def label(self, key: str) -> bool | None:
        """Whether the trace is right, by one of the line's keys or `ARITHMETIC`; None where that says nothing.

        Raises:
            UsageError: If the line has no such key, or something else than true, false or null there.
        """
        if key == ARITHMETIC:
            return self.arithmetic
        found = self.record.get(key)
        if key not in self.record or not (found is None or isinstance(found, bool)):
            got = f"{found!r:.60}" if key in self.record else "nothing"
            raise self.refused(
                f"the label {key!r} must be true, false or null, got {got}; name a key of all lines, or {ARITHMETIC}."
            )
        return found


def read_traces(path: Path, *, needs: Sequence[str] = TEXTS) -> list[Trace]:
    """All traces of a file; blank lines are skipped.

    Args:
        path: JSON Lines.
        needs: Keys that every line must have.

    Raises:
        UsageError: For a file that is not there or empty, and for a line that is no JSON object or lacks a key.
    """
    try:
        texts = only_a_file(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"--traces {path} must be UTF-8, got {error}; convert it.") from None
    except OSError as error:
        raise UsageError(f"--traces {path} cannot be read: {error.strerror}; name a file of traces.") from None
    traces = [_parsed(path, number, text) for number, text in enumerate(texts, start=1) if text.strip()]
    if not traces:
        raise UsageError(f"--traces {path} holds no trace; name a file that lm-eval-mdlm posterior wrote.")
    for trace in traces:
        for key in needs:
            trace.get(key)
    return traces


def _parsed(path: Path, number: int, text: str) -> Trace:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}, line {number}: not valid JSON ({getattr(error, 'msg', error)}); repair or remove the line."
        ) from None
    if not isinstance(record, dict):
        raise UsageError(f"{path}, line {number}: must be a JSON object, got {type(record).__name__}; remove the line.")
    return Trace(path, number, record)
