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
    """The task's metric for one document: `acc`, 1 if the numbers are equal."""
    gold = gold_number(doc["answer"])
    return {"acc": float(gold is not None and extract_number(results[0], doc.get("question", "")) == gold)}
