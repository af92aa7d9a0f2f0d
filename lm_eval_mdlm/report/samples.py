"""One document of a run as a line of lm_eval's samples file has it, under one filter."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import only_a_file


LARGEST = 1e150
"""Squares of larger numbers are no numbers any more."""
UNREADABLE = "[invalid]"
"""What lm_eval's filters put where a pattern was not found in a text."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a run made of one document."""

    key: tuple[str, int]
    """Hash of the document, and how many documents of the same hash stand before it."""
    prompt_hash: str
    """Of the context; empty where the line has none."""
    question: str
    """The context, as the model read it."""
    target: str
    texts: tuple[str, ...]
    """What the model wrote, one for each repeat; for multiple choice the choices with their log-likelihoods."""
    readings: tuple[str, ...]
    """What the filter took of them."""
    stops: tuple[str, ...]
    """Why no further pass was run, one word for each repeat; empty where the model does not say."""
    doc_id: int | None
    """Number of the document in its split; None where the line has none."""
    numbers: Mapping[str, float]
    """Metrics and counts by name, those that can be counted with."""


def read_samples(path: Path) -> dict[str, list[Sample]]:
    """The lines of a samples file by filter, each in the file's order.

    Raises:
        UsageError: With the first line that cannot be read.
    """
    found: dict[str, list[Sample]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for number, line in _lines(path):
        try:
            plain = json.loads(line)
            own_filter = str(plain.get("filter", "none"))
            document = str(plain.get("doc_hash") or f"doc_id {plain['doc_id']}")
            sample = _sample(plain, (document, seen[own_filter, document]))
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise UsageError(f"{path}: line {number} is not a sample of lm_eval ({_reason(error)}).") from error
        seen[own_filter, document] += 1
        found.setdefault(own_filter, []).append(sample)
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with only_a_file(path).open(encoding="utf-8") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable ({_reason(error)}).") from error


def _sample(plain: Mapping[str, Any], key: tuple[str, int]) -> Sample:
    calls = list(plain.get("arguments", {}).values())
    texts = plain.get("resps", [])
    choices = [str(call.get("arg_1")) for call in calls] if len(texts) == len(calls) > 1 else []
    return Sample(
        key=key,
        prompt_hash=str(plain.get("prompt_hash") or ""),
        question=_text(calls[0].get("arg_0", "")) if calls else "",
        target=_text(plain.get("target", "")),
        texts=tuple(f"{c} {_text(t)}" for c, t in zip(choices, texts, strict=True)) if choices else _flat(texts),
        readings=_flat(plain.get("filtered_resps", [])),
        stops=_flat(plain["stop"]) if plain.get("stop") else (),
        doc_id=doc_id if type(doc_id := plain.get("doc_id")) is int else None,
        numbers={name: float(value) for name, value in plain.items() if name != "doc_id" and counts(value)},
    )


def _flat(value: Any) -> tuple[str, ...]:
    """The leaves of nested lists, as text."""
    if isinstance(value, list):
        return tuple(leaf for inner in value for leaf in _flat(inner))
    return (_text(value),)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def counts(value: Any) -> bool:
    """Whether means and errors can be worked out of it: a number, not NaN, and not beyond `LARGEST`."""
    return isinstance(value, (bool, int, float)) and -LARGEST <= value <= LARGEST


def _reason(error: BaseException) -> str:
    """On one line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:160]
