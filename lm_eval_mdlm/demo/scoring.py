"""The demo tasks' documents and scores, called by the harness."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from . import problems_file
from .word_problems import DELIMITER


def word_problems(**metadata: Any) -> dict[str, Dataset]:
    """The packaged word problems, split test."""
    return {"test": _read("word_problems")}


def puzzles(**metadata: Any) -> dict[str, Dataset]:
    """The packaged letter puzzles, split test."""
    return {"test": _read("puzzles")}


def score_answer(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """`acc` 1 if the last delimiter is followed by the number asked for, spaces aside; no delimiter is wrong."""
    _, delimiter, answer = results[0].rpartition(DELIMITER)
    return {"acc": float(bool(delimiter) and answer.strip() == doc["answer"])}


def score_digits(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """`acc` 1 if all digits of the puzzle are right, spaces aside."""
    return {"acc": float(results[0].strip() == doc["response"].strip())}


def _read(name: str) -> Dataset:
    with problems_file(name).open(encoding="utf-8") as lines:
        return Dataset.from_list([json.loads(line) for line in lines])
