r"""GSM8K: is the final number of a solution the right one?

What counts as the answer, in this order of preference:

1. the last `\boxed{...}` that holds anything, closed or not. If it holds no single number there is no answer, and
   nothing else is looked at: under a template the box is where the answer was asked for;
2. the last statement: a line behind `####`, as in the data set's own solutions, that begins with a number (a numbered
   heading does not count), or what follows "answer is", "answer:" and the like. If it begins with a number and gives no
   single one, there is no answer;
3. the last number of the text, or the expression that ends with it.

Numbers are compared exactly and by value: 18, 18.0, $18.00, 36/2, \frac{36}{2}, 1.8e1, 18% are equal; 17.99 is not.
Expressions are evaluated: 20 - 2, 3 \times 6 and \sqrt{324} are 18, 18 + 5 and 18^2 are not. Of an equation the last
side with a number in it counts: 9 * 2 = 18, 18 = \text{total}. What is not a single number is no answer: 18, 19;
18 or 19; 18x; > 18. A scale word is part of the number (5 million, 2 dozen), unless the question asks in that word
("How many dozens ...?"). `numbers.quantity` gives the grammar, `numbers.written` the ways of writing a number.
"""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from fractions import Fraction

from .boxed import last_boxed
from .numbers.exact import NotANumber
from .numbers.statements import begins_with_number, last_value, single_value, value_of_sentence
from .numbers.words import SCALES
from .numbers.written import Token, plain, tokens


_STATEMENT = re.compile(
    r"(?P<hashes>\#{4,})"
    r"|\banswer\b[*_]*(?:\s+(?:is|was|equals|(?:will|would|should|must)\s+be)\b|\s*[:=])+[*_]*",
    re.IGNORECASE,
)
_STOCK_STRICT = re.compile(r"#### (\-?[0-9.,]+)")
_STOCK_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_STOCK_NOTHING = "[invalid]"
_HEADING = re.compile(r"\s*\d{1,2}\s*[.):]\s+[^\W\d_]")
_ASKED = re.compile(r"\bhow many (\w+)", re.IGNORECASE)
_MOST_OF_A_STATEMENT = 1000  # characters; an answer needs far fewer


def gold_number(answer: str) -> Fraction | None:
    """The number behind `####` in a reference solution; None if it has none."""
    _, marker, rest = answer.rpartition("####")
    return _single(rest) if marker else None


def extract_number(text: str, question: str = "") -> Fraction | None:
    """The number that a solution gives as its answer to the question, by the rules above; None without one."""
    asked = frozenset(word.lower().removesuffix("s") for word in _ASKED.findall(question)) & SCALES.keys()
    box = last_boxed(text)
    if box is not None:
        return _single(box, asked)
    for is_hashes, rest in _statements(text):
        if is_hashes and _HEADING.match(rest):
            continue
        pieces = _pieces(rest, asked)
        if is_hashes and not begins_with_number(pieces):
            continue
        try:
            value = value_of_sentence(pieces)
        except NotANumber:
            return None
        if value is not None:
            return value
    return last_value(_pieces(text, asked))


def _pieces(text: str, asked: Set[str]) -> list[Token]:
    """Tokens, in which the words that the question asks in are units like others."""
    found = tokens(plain(text))
    if not asked:
        return found
    return [replace(t, text="units") if t.text.lower().removesuffix("s") in asked else t for t in found]


def _single(text: str, asked: Set[str] = frozenset()) -> Fraction | None:
    if len(text) > _MOST_OF_A_STATEMENT:
        return None
    try:
        return single_value(_pieces(text, asked))
    except NotANumber:
        return None


def _statements(text: str) -> Iterator[tuple[bool, str]]:
    """The statements from the last to the first, each up to the end of its line or the next one."""
    end = len(text)
    for match in reversed(list(_STATEMENT.finditer(text))):
        content = text[match.end() : min(end, match.end() + _MOST_OF_A_STATEMENT)].lstrip()
        yield match["hashes"] is not None, content.partition("\n")[0]
        end = match.start()


def process_results(doc: Mapping[str, str], results: list[str]) -> dict[str, float]:
    """The task's metrics for one document.

    `acc` is 1 if the numbers are equal. `exact_match_strict` and `exact_match_flexible` are what the stock task `gsm8k`
    reports as `exact_match` under its filters strict-match and flexible-extract, for the same text.
    """
    text, answer = results[0], doc["answer"]
    gold = gold_number(answer)
    return {
        "acc": float(gold is not None and extract_number(text, doc.get("question", "")) == gold),
        "exact_match_strict": float(_stock_form(_stock_strict(text)) == _stock_form(answer)),
        "exact_match_flexible": float(_stock_form(_stock_flexible(text)) == _stock_form(answer)),
    }


def _stock_strict(text: str) -> str:
    """The first number behind `#### `, as a text."""
    match = _STOCK_STRICT.search(text)
    return match[1] if match else _STOCK_NOTHING


def _stock_flexible(text: str) -> str:
    """The last stretch of digits, points, commas and dollar signs, as a text."""
    found = _STOCK_FLEXIBLE.findall(text)
    return found[-1] if found else _STOCK_NOTHING


def _stock_form(text: str) -> str:
    """What the stock task compares: without commas, dollars, all up to the last `#### `, and a final full stop."""
    text = text.replace(",", "").replace("$", "").rpartition("#### ")[2]
    return re.sub(r"\.$", "", text).lower()
