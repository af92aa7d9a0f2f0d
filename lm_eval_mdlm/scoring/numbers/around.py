"""The words before, behind and between numbers: labels, units, signs in words."""

from .cursor import Cursor
from .exact import NotANumber
from .words import CHANGES, JOINS, NEGATIVE, SIGNS, SIGNS_WITH_BY, UNIT_LETTERS
from .written import Token


WITHOUT_MEANING = {
    *("'", "@", "#", "!", "%"),
    *(r"\checkmark", r"\blacksquare", r"\square", r"\Box", r"\star", r"\circ", r"\qed"),
}


def take_sign(cursor: Cursor, *signs: str) -> str | None:
    """One of these signs (+ - * /), passed over, as a mark or in words, where a number follows; else None."""
    token = cursor.peek()
    if token is None:
        return None
    sign, length = SIGNS.get(token.text, token.text), 1
    if token.text in SIGNS_WITH_BY and cursor.next_is("by", ahead=1):
        sign, length = SIGNS_WITH_BY[token.text], 2
    if sign not in signs or not cursor.operand_at(length):
        return None
    cursor.at += length
    return sign


def pass_label(cursor: Cursor) -> None:
    """Over what may stand before a number: words, a variable with its index, marks without meaning.

    NotANumber where it changes the number: a function, a relation, an operator behind a variable, "root of".
    """
    before: Token | None = None
    while token := cursor.peek():
        word = token.text.lower()
        behind_word = before is not None and before.kind == "word"
        if behind_word and token.text in ("+", "*", "/", "^"):
            raise NotANumber
        hyphen = behind_word and token.text == "-" and not token.apart  # covid-19
        if cursor.operand_at() and not hyphen:
            return
        if word in NEGATIVE and cursor.operand_at(1):
            cursor.tokens[cursor.at] = Token("sign", "-", token.apart)
            return
        unknown = token.kind == "command" and token.text not in WITHOUT_MEANING
        if unknown or word in CHANGES or token.kind in ("absurd", "relation"):
            raise NotANumber
        cursor.at += 1
        if token.text == "_" and cursor.operand_at():
            cursor.pass_argument()
        before = token


def pass_units(cursor: Cursor) -> list[str]:
    """The words behind a number, passed over with what joins them, up to a sign, a number or the end.

    NotANumber for a variable.
    """
    units: list[str] = []
    while token := cursor.peek():
        if token.kind == "word":
            if _is_sign(cursor) or (token.text in JOINS and _number_ahead(cursor)):
                break
            if _is_variable(token):
                raise NotANumber
            units.append(token.text.lower())
        elif token.text in ("-", "/"):  # 18-inch, km/h
            follower = cursor.peek(1)
            if follower is None or follower.kind != "word" or (token.text == "-" and follower.apart):
                break
        elif token.text == "^" and units and cursor.operand_at(1):  # cm^2
            cursor.at += 1
            cursor.pass_argument()
            continue
        elif token.text not in WITHOUT_MEANING and (token.kind != "end" or cursor.operand_at(1)):
            break  # 7:30 among others
        cursor.at += 1
    return units


def _is_sign(cursor: Cursor) -> bool:
    if cursor.next_is(*SIGNS):
        return cursor.operand_at(1)
    return cursor.next_is(*SIGNS_WITH_BY) and cursor.next_is("by", ahead=1) and cursor.operand_at(2)


def _number_ahead(cursor: Cursor) -> bool:
    return any(token.kind in ("number", "absurd") for token in cursor.rest())


def _is_variable(token: Token) -> bool:
    """A letter behind a number that is no unit: 18x, 18 n, 18a, but not 18 m or 18 a day."""
    if "\u0370" <= token.text <= "\u03ff":
        return True
    units = UNIT_LETTERS | ({"a"} if token.apart else set())
    return len(token.text) == 1 and token.text.isascii() and token.text not in units
