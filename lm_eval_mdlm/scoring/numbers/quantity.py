r"""The exact value of a written quantity: a number or an expression of numbers, with the words around it.

    side    = label, sum, remark
    sum     = product, {("+" | "-"), product}
    product = factor, {("*" | "/"), factor}, ["of", factor]
    factor  = ["+" | "-"], power, scale, units
    power   = atom, ["^", ["+" | "-"], power]
    atom    = number, ["_", base] | bracket | \frac | \sqrt

Brackets are ( [ { | \lfloor \lceil. Signs may be words: plus, minus, times, x, divided by. A bracket, root or fraction
that follows without a blank is multiplied: 2(9), 3\sqrt{36}; a proper fraction behind a whole number is added:
18\frac12, 18 1/2, 18 and a half. Scales multiply: 5 million, 18k. Units change nothing, and neither does a percent
sign, but 50% of 36 is 18, and so is 1/2 of 36. In a remark (18 of 20; 18 for 3 days; a bracket with words) further
numbers may stand.

Not a single number: two numbers side by side, ranges, ratios, inequalities, variables, constants, functions, irrational
roots, division by zero; more than `MAX_TOKENS` tokens, or brackets deeper than `MAX_DEPTH`.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from .around import pass_label, pass_units, take_sign
from .cursor import CLOSING, FRACTIONS, ROOTS, Cursor
from .exact import NotANumber, bounded, divided, factorial, power, root
from .words import ATTACHED_SCALES, JOINS, PARTS, REMARKS, SCALES
from .written import Token


MAX_TOKENS = 400
MAX_DEPTH = 20

_JOINED = (*FRACTIONS, *ROOTS, "(", "[", r"\lfloor", r"\lceil")
_BRACKET_VALUE: dict[str, Callable[[Fraction], Fraction | int]] = {
    "|": abs,
    r"\lvert": abs,
    r"\lfloor": math.floor,
    r"\lceil": math.ceil,
}


def value_of(tokens: Sequence[Token]) -> Fraction:
    """The value of one side of a statement; NotANumber if it is no single number."""
    if len(tokens) > MAX_TOKENS:
        raise NotANumber
    return _Reader(tokens).side()


class _Reader:
    """One method per rule of the grammar; each raises NotANumber where it does not apply."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.cursor, self.depth = Cursor(list(tokens)), 0
        self.units: list[str] = []
        """Words behind the last number."""
        self.percent = False
        """Whether the last number is a percentage."""

    def side(self) -> Fraction:
        pass_label(self.cursor)
        value = self._sum()
        self._pass_remark(value)
        if self.cursor.peek():
            raise NotANumber
        return value

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := take_sign(self.cursor, "+", "-"):
            term = self._product()
            value = bounded(value + term if sign == "+" else value - term)
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while (sign := take_sign(self.cursor, "*", "/")) or self._is_joined():
            factor = self._factor()
            value = divided(value, factor) if sign == "/" else bounded(value * factor)
        is_share = self.percent or value.denominator != 1
        if is_share and self.units[-1:] == ["of"] and self.cursor.operand_at():
            return bounded((value / 100 if self.percent else value) * self._deeper(self._factor))
        return value

    def _is_joined(self) -> bool:
        token = self.cursor.peek()
        if token is None or token.apart or self.units:
            return False
        return token.text in _JOINED and self.cursor.operand_at()

    def _factor(self) -> Fraction:
        if self.cursor.next_is("-", "+"):
            negative = self.cursor.next_is("-")
            self.cursor.at += 1
            value = self._deeper(self._factor)
            return -value if negative else value
        value = self._scaled(self._power())
        self.units += pass_units(self.cursor)
        return value

    def _power(self) -> Fraction:
        start = self.cursor.at
        base = self._atom()
        if self.cursor.take("^"):
            negative = self.cursor.take("-")
            self.cursor.take("+")
            exponent = self._deeper(self._power)
            return power(base, -exponent if negative else exponent)
        if self.cursor.at == start + 1 and self.cursor.tokens[start].text.isdigit():
            base += self._mixed_part()
        return base

    def _atom(self) -> Fraction:
        token = self.cursor.peek()
        if token is None:
            raise NotANumber
        self.cursor.at += 1
        self.units, self.percent = [], False
        if token.value is not None:
            return self._in_base(token) if self.cursor.take("_") else token.value
        if token.text in FRACTIONS:
            above = self._argument()
            return divided(above, self._argument())
        if token.text in ROOTS:
            index = self._bracket("[") if self.cursor.take("[") else Fraction(2)
            return root(self._argument() if token.text == r"\sqrt" else self._deeper(self._atom), int(index))
        if token.text in CLOSING:
            return self._bracket(token.text)
        raise NotANumber

    def _bracket(self, opener: str) -> Fraction:
        """What stands in a bracket that has been opened; one that is open at the end of the side ends there."""
        pass_label(self.cursor)
        value = self._deeper(self._sum)
        if not self.cursor.take(CLOSING[opener]) and self.cursor.peek():
            raise NotANumber
        self.units = []
        measure = _BRACKET_VALUE.get(opener)
        return Fraction(measure(value)) if measure else value

    def _argument(self) -> Fraction:
        """Of a TeX command: a group, or else one digit."""
        token = self.cursor.peek()
        if token and token.text.isdigit() and len(token.text) > 1:
            rest = token.text[1:]
            self.cursor.tokens[self.cursor.at] = Token("number", rest, value=Fraction(int(rest)))
            return Fraction(int(token.text[0]))
        return self._deeper(self._atom)

    def _in_base(self, token: Token) -> Fraction:
        base = self._argument() if self.cursor.next_is("{") else self._atom()
        if base not in range(2, 17) or not token.text.isdigit() or int(max(token.text)) >= base:
            raise NotANumber
        return Fraction(int(token.text, int(base)))

    def _mixed_part(self) -> Fraction:
        """A proper fraction behind a whole number, passed over; 0 without one."""
        cursor = self.cursor
        above, bar, below, behind = (cursor.peek(ahead) for ahead in range(4))
        place, kept = cursor.at, list(cursor.tokens)
        if above and above.value is not None and bar and bar.text == "/" and below and below.value:
            if behind and (behind.value is not None or behind.text in ("/", "*", "^")):
                raise NotANumber
            cursor.at += 3
            parts = above.value, below.value
        elif above and above.text in FRACTIONS:
            cursor.at += 1
            parts = self._argument(), self._argument()
        else:
            return Fraction(0)
        if 0 < parts[0] < parts[1] and parts[0].denominator == parts[1].denominator == 1:
            return parts[0] / parts[1]
        cursor.at, cursor.tokens = place, kept  # an improper one is a factor, or a second number
        return Fraction(0)

    def _scaled(self, value: Fraction) -> Fraction:
        """The number with what is right behind it and changes its value."""
        while token := self.cursor.peek():
            word = token.text.lower()
            scale = SCALES.get(word) or SCALES.get(word.removesuffix("s"))
            if not token.apart and token.text in ATTACHED_SCALES:
                scale = ATTACHED_SCALES[token.text]
            if word == "and" and (part := self._part()):
                value += part
                continue
            if scale:
                value = bounded(value * scale)
            elif token.text == "!" and not token.apart:
                value = factorial(value)
            elif word in ("squared", "cubed"):
                value = power(value, Fraction(2 if word == "squared" else 3))
            elif token.text == "%" or word == "percent":
                self.percent = True
            else:
                break
            self.cursor.at += 1
        return value

    def _part(self) -> Fraction:
        """Passes over "and a half" or "and 1/2"; 0 without it."""
        article, noun = self.cursor.peek(1), self.cursor.peek(2)
        if article and noun and article.text in ("a", "one") and noun.text in PARTS:
            self.cursor.at += 3
            return PARTS[noun.text]
        self.cursor.at += 1
        try:
            part = self._mixed_part()
        except NotANumber:
            part = Fraction(0)
        self.cursor.at -= 0 if part else 1
        return part

    def _pass_remark(self, value: Fraction) -> None:
        """Over what is said of the value."""
        rest = self.cursor.rest()
        if not rest:
            return
        if all(token.text in CLOSING.values() for token in rest):
            self.cursor.pass_to_end()
        elif rest[0].text in ("(", "["):
            inside = [token for token in rest if token.text not in ("(", "[", ")", "]")]
            if any(token.kind == "word" for token in inside) or value_of(inside) == value:
                self.cursor.pass_to_end()
        elif REMARKS & {*self.units} and rest[0].text not in JOINS:
            self.cursor.pass_to_end()

    def _deeper(self, read: Callable[[], Fraction]) -> Fraction:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotANumber
        value = read()
        self.depth -= 1
        return value
