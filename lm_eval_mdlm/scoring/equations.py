r"""Whether the arithmetic that a text writes down is right: every `a op b = c` in it, recomputed exactly.

An equation is an equals sign with an expression of at least two numbers before it and a number or an expression behind
it, as far as `numbers.quantity` can read them: 48/2 = 24, 3 apples + 4 apples = 7 apples, 50% of 36 = 18. What cannot
be read, 5x + 3 = 18 or 20% * 5 = 1, says nothing. What stands between `<<` and `>>`, the calculator's marks of GSM8K,
is an equation of its own. In a chain, 2 + 3 = 5 = 6, each equals sign is looked at by itself. Signs that say
approximately are no equations; 10/3 = 3.33 is one, and wrong.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from .numbers.exact import NotANumber
from .numbers.quantity import value_of
from .numbers.written import Token, plain, tokens


_MARKS = re.compile(r"<<([^<>]*)>>")
_NO_EQUALS_SIGN = re.compile(
    r"[≈≃≅≡→⇒⟹∴]|\\(?:approx|simeq|sim|equiv|cong|to|[rR]ightarrow|implies|therefore)(?![A-Za-z])"
)
_OPERATORS = {*"+-*/^"}
_SPELT_OPERATORS = {"x", "X", "times", "plus", "minus", "by"}
_OPEN, _CLOSE = {*"([{"}, {*")]}"}
_MOST_TOKENS = 40  # on either side of an equals sign; solutions have far fewer
_MOST_UNITS = 2  # words behind a number; more are a sentence


def arithmetic_is_right(text: str) -> bool | None:
    """Whether all equations of a text hold; None if it has none that can be read."""
    sides = list(equations(text))
    return all(left == right for left, right in sides) if sides else None


def equations(text: str) -> Iterator[tuple[Fraction, Fraction]]:
    """The exact values of both sides of every equation, those within calculator's marks first."""
    for piece in (*_MARKS.findall(text), _MARKS.sub("", text)):
        for statement in _statements(tokens(plain(_NO_EQUALS_SIGN.sub("\n", piece)))):
            yield from _in_statement(statement)


def _statements(found: Sequence[Token]) -> Iterator[list[Token]]:
    """Stretches without the end of a line, sentence or clause."""
    statement: list[Token] = []
    for at, token in enumerate(found):
        follower = found[at + 1] if at + 1 < len(found) else None
        ends = token.kind == "end" and (follower is None or follower.apart or follower.kind != "number")
        if ends or token.kind in ("list", "relation"):
            yield statement
            statement = []
        else:
            statement.append(token)
    yield statement


def _in_statement(statement: Sequence[Token]) -> Iterator[tuple[Fraction, Fraction]]:
    equals = [at for at, token in enumerate(statement) if token.kind == "equal"]
    for place, start, stop in zip(equals, [-1, *equals], [*equals[1:], len(statement)], strict=False):
        left = _expression_before(statement[start + 1 : place])
        right = _value_behind(statement[place + 1 : stop])
        if left is not None and right is not None:
            yield left, right


def _expression_before(side: Sequence[Token]) -> Fraction | None:
    """The longest expression, of at least two numbers, that ends the side; None without one."""
    for start in range(max(0, len(side) - _MOST_TOKENS), len(side)):
        expression = side[start:]
        if not _is_whole(side, start) or not _is_formula(expression):
            continue
        try:
            return value_of(expression)
        except NotANumber:
            continue
    return None


def _is_whole(side: Sequence[Token], start: int) -> bool:
    """Whether what begins here is not the rest of a longer expression."""
    before = side[start - 1] if start else None
    if start == 1 and side[0].text == "-" and side[1].apart:
        return True  # an item of a list
    if before is not None and (before.text in _OPERATORS or before.kind in ("number", "absurd", "command")):
        return False
    return side[start].text != "-" or (start + 1 < len(side) and not side[start + 1].apart)


def _is_formula(expression: Sequence[Token]) -> bool:
    """Whether these are two or more numbers with operators between them, and at most units beside them.

    More is a sentence, of which `value_of` would read the first number.
    """
    wants_operand, units, num_numbers = True, 0, 0
    for at, token in enumerate(expression):
        opens = token.text in _OPEN or token.kind == "command"
        if wants_operand:
            if token.kind == "number":
                wants_operand, units, num_numbers = False, 0, num_numbers + 1
            elif not opens and (token.text != "-" or (at and expression[at - 1].text not in _OPEN)):
                return False
        elif token.text in _OPERATORS or token.text in _SPELT_OPERATORS or (opens and not token.apart):
            wants_operand = True
        elif token.text == "%":  # as a factor it would be a hundredth for some, and is not for `value_of`
            follower = expression[at + 1] if at + 1 < len(expression) else None
            if follower is None or follower.text != "of":
                return False
        elif token.text == "of" and expression[at - 1].text == "%":
            wants_operand = True
        elif token.kind == "word" and units < _MOST_UNITS and not _is_variable(token):
            units += 1
        elif token.text not in _CLOSE:
            return False
    return not wants_operand and num_numbers >= 2


def _is_variable(token: Token) -> bool:
    """A single letter right behind a number or bracket."""
    return token.kind == "word" and len(token.text) == 1 and not token.apart


def _value_behind(side: Sequence[Token]) -> Fraction | None:
    """The value of the longest expression that begins the side; None without one, or if more follows unread."""
    if not side or side[0].kind == "word":
        return None
    for stop in range(min(len(side), _MOST_TOKENS), 0, -1):
        follower = side[stop] if stop < len(side) else None
        if follower is not None and (
            follower.text in {*_OPERATORS, "%"} or follower.kind == "number" or not follower.apart
        ):
            continue
        if any(token.text == "%" or _is_variable(token) for token in side[:stop]):
            continue
        try:
            return value_of(side[:stop])
        except NotANumber:
            continue
    return None
