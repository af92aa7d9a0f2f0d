"""What a stretch of text states: the one number it gives, several that differ, or none.

A box or a line of an answer is a list of parts (commas, semicolons, "or"), a part is an equation of sides, and a side
is a quantity (`quantity`). The last side with a number gives the value of its part; all parts with a number have to
have the same value.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from .exact import NotANumber
from .quantity import MAX_TOKENS, value_of
from .words import CHANGES, CLAUSES, JOINS, REMARKS
from .written import Token


_OPEN, _CLOSE = ("(", "[", "{"), (")", "]", "}")
_WITHIN = {*"+-*/^_|√", *_OPEN, *_CLOSE}
_BEHIND = {*"%^_!+-*/", *_CLOSE}


def single_value(tokens: Sequence[Token]) -> Fraction | None:
    """The value of a stretch that is nothing but an answer, such as the content of a box.

    None if there is no number in it. NotANumber if it is no single number.
    """
    values = {value for part in _parts(tokens) if (value := _equation(part)) is not None}
    if len(values) > 1:
        raise NotANumber
    return values.pop() if values else None


def value_of_sentence(tokens: Sequence[Token]) -> Fraction | None:
    """The value of a sentence that begins with the answer, such as what follows "the answer is".

    What comes behind the first sentence, and parts of it that begin with a word, are not looked at: "18, because he
    has 2 more" is 18. None if there is no number, or one that the sentence does not begin with and that cannot be
    read alone. NotANumber if it begins with a number and gives no single one.
    """
    parts = list(_parts(_first_sentence(tokens)))
    numbered = [part for part in parts if _has_number(part)]
    if not numbered:
        return None
    first, *others = numbered
    listed = [part for part in others if _continues_a_list(part)]
    try:
        return single_value(_joined([first, *listed]))
    except NotANumber:
        if begins_with_number(first):
            raise
        return None


def begins_with_number(tokens: Sequence[Token]) -> bool:
    """Whether no word stands before the first number; those before an equals sign do not count."""
    sides = list(_split(tokens, "equal"))
    first = next((side for side in sides if _has_number(side)), [])
    for token in first:
        if token.kind in ("number", "absurd"):
            return True
        if token.kind == "word":
            return False
    return False


def last_value(tokens: Sequence[Token]) -> Fraction | None:
    """The value of the last number of a running text, or of the expression that ends with it; None without one."""
    last = next((at for at in range(len(tokens) - 1, -1, -1) if tokens[at].kind == "number"), None)
    if last is None:
        return None
    start, end = _start_of_expression(tokens, last), last + 1
    before = tokens[start - 1] if start else None
    changed = before is not None and (before.kind == "relation" or before.text.lower() in CHANGES)
    if changed or last - start >= MAX_TOKENS:
        return None
    while end < len(tokens) and (tokens[end].text in _BEHIND or tokens[end].kind in ("command", "absurd")):
        end += 1
    if end < len(tokens) and tokens[end].kind == "word":
        end += 1
    try:
        return value_of(tokens[start:end])
    except NotANumber:
        return None


def _start_of_expression(tokens: Sequence[Token], last: int) -> int:
    """Where operands and operators that lead up to the last number begin."""
    start = last
    while start and last - start < MAX_TOKENS:
        token, before = tokens[start], tokens[start - 1]
        if before.kind in ("number", "absurd"):
            fraction = start + 1 < len(tokens) and tokens[start + 1].text == "/"
            if (token.kind == "number" and not fraction) or (token.text in _OPEN and token.apart):
                break
        elif before.kind == "sign":
            hyphen = start > 1 and tokens[start - 2].kind == "word" and not before.apart
            if before.text not in _WITHIN or (before.text in "+-" and hyphen):
                break
        elif before.text not in (r"\frac", r"\dfrac", r"\tfrac", r"\cfrac", r"\sqrt"):
            break
        start -= 1
    return start


def _first_sentence(tokens: Sequence[Token]) -> Sequence[Token]:
    """Up to the first end of a sentence or clause that has a number before it."""
    numbered = False
    for at, token in enumerate(tokens):
        follower = tokens[at + 1] if at + 1 < len(tokens) else None
        mark = token.text in (".", "?", "!") and (follower is None or follower.apart)
        if numbered and (mark or token.text == "\n" or token.text.lower() in CLAUSES):
            return tokens[:at]
        numbered |= token.kind == "number"
    return tokens


def _parts(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    part: list[Token] = []
    depth = 0
    for token in tokens:
        depth += (token.text in _OPEN) - (token.text in _CLOSE)
        if depth <= 0 and (token.kind == "list" or token.text == "or"):
            yield part
            part = []
        if token.kind != "list" or depth > 0:
            part.append(token)
    yield part


def _joined(parts: Sequence[Sequence[Token]]) -> list[Token]:
    return [token for part in parts for token in (*part, Token("list", ","))]


def _split(tokens: Sequence[Token], kind: str) -> Iterator[list[Token]]:
    piece: list[Token] = []
    for token in tokens:
        if token.kind == kind:
            yield piece
            piece = []
        else:
            piece.append(token)
    yield piece


def _equation(tokens: Sequence[Token]) -> Fraction | None:
    for side in reversed(list(_split(tokens, "equal"))):
        if _has_number(side):
            return value_of(side)
    return None


def _has_number(tokens: Sequence[Token]) -> bool:
    return any(token.kind == "number" for token in tokens)


def _continues_a_list(part: Sequence[Token]) -> bool:
    """19 in "18, 19" and in "18 or 19", but not "2 more" in "18, 2 more"."""
    words = {token.text.lower() for token in part if token.kind == "word"}
    if part[0].text in JOINS:
        return True
    return begins_with_number(part) and not words & REMARKS
