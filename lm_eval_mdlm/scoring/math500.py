r"""MATH-500: is a final answer equivalent to the reference, by math-verify?

What counts as the answer is the last `\boxed{...}`, closed or not; of one that the end of its block cuts off, what is
left counts. Without a box math-verify searches the whole text
itself: for a final answer in words first, then for the last formula or number.
"""

from collections.abc import Mapping
from typing import Any

from math_verify import parse, verify

from .boxed import last_boxed


TIMEOUT_SECONDS = 5
"""For parsing one answer and for comparing one pair; an answer that takes longer is wrong."""


def is_correct(text: str, answer: str) -> bool:
    """Whether the solution `text` ends in something equal to the LaTeX `answer`.

    Runs only in the main thread, since math-verify's time limit is a signal; ValueError elsewhere.
    """
    box = last_boxed(text)
    target = _parse(text if box is None else f"\\boxed{{{box}}}")
    gold = _parse(f"\\boxed{{{answer}}}")
    return bool(target) and bool(verify(gold, target, timeout_seconds=TIMEOUT_SECONDS))


def process_results(doc: Mapping[str, str], results: list[str]) -> dict[str, float]:
    """The task's metric for one document: `acc`, 1 if the answers are equivalent."""
    return {"acc": float(is_correct(results[0], doc["answer"]))}


def _parse(latex: str) -> list[Any]:
    """Empty for what math-verify cannot read within its time."""
    return list(parse(latex, parsing_timeout=TIMEOUT_SECONDS))
