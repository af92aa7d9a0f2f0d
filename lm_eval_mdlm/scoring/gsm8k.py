r"""GSM8K: is the final number of a solution the right one?

Which number counts, in this order of preference:

1. the last `\boxed{...}`, closed or not: the first number behind its last `=`. A box without a number is no answer,
   and nothing else is looked at: under a template the box is where the answer was asked for;
2. the first number behind the first `####`, as in the data set's own solutions;
3. the first number behind the last "answer is" or "answer:", on the same line and behind its last `=`;
4. the last number of the text.

Numbers are compared by value and exactly: 18, 18.0, $18.00, 36/2, \frac{36}{2} and 18% are equal; 17.99 is not 18.
`,` between groups of three digits, `{,}`, `\,` and `\!` separate thousands; elsewhere a comma separates numbers. A
minus counts unless a digit, letter or bracket is right before it (10-5 holds 10 and 5). Units, `$` and `%` are ignored.
Division by zero is no number.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

from .boxed import last_boxed


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_VALUE = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)"
_NUMBER = re.compile(rf"((?<![\w.)\]}}])-)?({_VALUE})(?:\s*/\s*({_VALUE}))?")
_ANSWER_IS = re.compile(r"\banswer(?:\s+is\b|\s*:)+", re.IGNORECASE)


def gold_number(answer: str) -> Fraction | None:
    """The number behind `####` in a reference solution; None if it has none."""
    _, marker, rest = answer.rpartition("####")
    return next(_numbers(rest), None) if marker else None


def extract_number(text: str) -> Fraction | None:
    """The number that a solution gives as its answer, by the rules above; None without one."""
    box = last_boxed(text)
    if box is not None:
        return next(_numbers(box.rpartition("=")[2]), None)
    _, marker, rest = text.partition("####")
    if marker and (number := next(_numbers(rest), None)) is not None:
        return number
    for phrase in reversed(list(_ANSWER_IS.finditer(text))):
        line = text[phrase.end() :].lstrip().partition("\n")[0]
        if (number := next(_numbers(line.rpartition("=")[2]), None)) is not None:
            return number
    return next(reversed(list(_numbers(text))), None)


def process_results(doc: Mapping[str, str], results: list[str]) -> dict[str, float]:
    """The task's metric for one document: `acc`, 1 if the numbers are equal."""
    gold = gold_number(doc["answer"])
    return {"acc": float(gold is not None and extract_number(results[0]) == gold)}


def _numbers(text: str) -> Iterator[Fraction]:
    for sign, value, divisor in _NUMBER.findall(_plain(text)):
        number = Fraction(value.replace(",", ""))
        below = Fraction(divisor.replace(",", "")) if divisor else Fraction(1)
        if below:
            yield (-number if sign else number) / below


def _plain(text: str) -> str:
    """Without what LaTeX and currency put between a number's characters."""
    text = text.replace("\u2212", "-").replace("{,}", ",")
    text = re.sub(r"(?<=\d)(?:,\\!|\\[,!])(?=\d{3})", ",", text)
    text = re.sub(r"-\s*\\?\$\s*", "-", text)
    return re.sub(r"(-?)\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" \1\2/\3 ", text).replace("$", " ")
