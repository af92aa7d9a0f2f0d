"""Reads training files: JSON Lines, one example each, refused with its line number where it is malformed."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError


KINDS = ({"prompt", "response"}, {"prompt", "solution", "answer"})
EXPECTED = 'an object with the strings "prompt" and "response", or "prompt", "solution" and "answer"'


@dataclass(frozen=True, kw_only=True)
class Example:
    """One training example. `answer` is None where the response is one piece, without a separate answer."""

    prompt: str
    solution: str
    """The reasoning, which may be empty, or the whole response where `answer` is None."""
    answer: str | None
    line: int
    """Line of the file, counted from 1; for messages."""


def parse_line(text: str, *, path: Path, line: int) -> Example:
    """The example of one line; other keys than the expected ones are ignored.

    Raises:
        UsageError: not JSON, not an object, a key missing, keys of both kinds, a value that is no string, or an empty
            response or answer.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}, line {line}: not valid JSON ({getattr(error, 'msg', error)}); expected {EXPECTED}."
        ) from None
    if not isinstance(record, dict):
        raise UsageError(f"{path}, line {line}: expected {EXPECTED}, got {type(record).__name__}.")
    kinds = [kind for kind in KINDS if kind <= record.keys()]
    if len(kinds) != 1:
        rule = "expected" if not kinds else "cannot be both a plain and a templated example, expected"
        raise UsageError(f"{path}, line {line}: {rule} {EXPECTED}, got the keys {sorted(record)}.")
    for key in sorted(kinds[0]):
        _check_text(record[key], key, path=path, line=line)
    if "response" in kinds[0]:
        return Example(prompt=record["prompt"], solution=record["response"], answer=None, line=line)
    return Example(prompt=record["prompt"], solution=record["solution"], answer=record["answer"], line=line)


def _check_text(value: object, key: str, *, path: Path, line: int) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{path}, line {line}: {key!r} must be a string, got {value!r}.")
    if key in ("response", "answer") and not value.strip():
        raise UsageError(f"{path}, line {line}: {key!r} is empty; remove the line or fill it.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise UsageError(
            f"{path}, line {line}: {key!r} holds half of a surrogate pair, which is no character; correct its escapes."
        )


def read_examples(path: Path) -> list[Example]:
    """All examples of a file; blank lines are skipped.

    Raises:
        UsageError: no such file, no example in it, or a malformed line.
    """
    if not path.is_file():
        raise UsageError(f"the training file {path} does not exist; give a JSON Lines file.")
    try:
        with path.open(encoding="utf-8-sig") as file:  # a byte order mark, as Windows editors write it, is no text
            examples = [parse_line(text, path=path, line=i) for i, text in enumerate(file, start=1) if text.strip()]
    except UnicodeDecodeError as error:
        raise UsageError(f"the training file {path} must be UTF-8, got {error}; convert it.") from None
    if not examples:
        raise UsageError(f"the training file {path} holds no example; expected on each line {EXPECTED}.")
    return examples
