"""Whether two LaTeX answers are equal, by math-verify; without limits, so for the child processes of `limited` only."""

import logging

from math_verify import parse, verify

from .boxed import last_boxed
from .latex import MAX_LENGTH, Based, as_intervals, based, decimal_places, is_equation_of_zero, tidied


logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that it has no limit of its own


def is_correct(text: str, answer: str) -> bool:
    """Whether the solution `text` ends in something equal to the LaTeX `answer`."""
    box = last_boxed(text)
    gold = tidied(answer)
    if box is None:
        return _equal(gold, parse(text, parsing_timeout=None), decimal_places(gold))
    if len(box) > MAX_LENGTH:
        return False
    return are_equal(gold, tidied(box))


def are_equal(gold: str, target: str) -> bool:
    """Whether two tidied answers are equal; a number in a base equals only the same digits in the same base."""
    wanted, written = based(gold), based(target)
    if wanted is not None:
        return wanted == written
    if written is not None:
        target = _in_ten(written)
    if not target or ("=" not in gold and is_equation_of_zero(target)):
        return False
    target = as_intervals(target)
    return _equal(gold, parse(f"\\boxed{{{target}}}", parsing_timeout=None), decimal_places(gold, target))


def stock_match(text: str, solution: str) -> bool:
    """What the stock task `minerva_math500` reports as `math_verify`: its defaults on the two whole texts."""
    return bool(
        verify(
            gold=parse(solution, parsing_timeout=None), target=parse(text, parsing_timeout=None), timeout_seconds=None
        )
    )


def _equal(gold: str, target: list[object], places: int) -> bool:
    wanted = parse(f"\\boxed{{{gold}}}", parsing_timeout=None)
    return bool(target) and bool(
        verify(wanted, target, float_rounding=places, allow_set_relation_comp=True, timeout_seconds=None)
    )


def _in_ten(number: Based) -> str:
    """Its digits if it is written in base ten; in any other base it equals no plain number."""
    return number.digits if number.base == 10 else ""
