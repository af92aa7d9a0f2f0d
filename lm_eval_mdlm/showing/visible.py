"""Text of others where a person or a program reads it: nothing in it acts."""

import re
import unicodedata
from typing import Any


_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a reader see others in another order."""
_BEGIN_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""By which spreadsheets take a cell for a formula; the last four are full-width forms that some of them read too."""
_NEXT_CELLS = re.compile(r"([;|\t\r\n]\"*)(?=[=+\-@＝＋－＠])")
"""Where a spreadsheet that takes one of these for the separator begins a cell, whatever quotes are around the text."""


def visible(text: str) -> str:
    """The text with control codes, halves of surrogate pairs and turns of the reading direction spelt out.

    Results of others may hold any of them: a terminal acts on the first, no file takes the second.
    """
    return "".join(_spelt(one) if unicodedata.category(one) in ("Cc", "Cs") or one in _TURNS else one for one in text)


def spreadsheet_cell(value: Any) -> Any:
    """A value for a CSV file: before what a spreadsheet would run as a formula stands an apostrophe.

    That is at the beginning of a text, and behind what some spreadsheets take for the separator in place of the comma.
    Numbers and all other values stay as they are.
    """
    if not isinstance(value, str):
        return value
    begin = "'" if value.startswith(_BEGIN_FORMULAS) else ""
    return begin + _NEXT_CELLS.sub(r"\g<1>'", value)


def _spelt(character: str) -> str:
    return character if character in "\n\t" else character.encode("unicode_escape").decode("ascii")
