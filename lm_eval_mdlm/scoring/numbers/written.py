r"""How people and models write numbers and formulas: one plain notation for all of it, then tokens.

`plain` undoes typography: other scripts' digits, raised and lowered digits, fractions that are one character, TeX's
blanks, text commands and delimiters, currency signs. `tokens` cuts what is left into numbers, words and signs. Both are
linear in the length of the text and accept any text.

A number is read exactly. `,` `{,}` `'` and `_` separate thousands, and so does a blank of any kind (`\,`, `\;`, `~`,
thin, no-break), if every group behind the first has three digits; two or more dots do so too (1.450.000). 1.8e1 is 18.
A number of more than `MAX_DIGITS` digits is none: its token is of the kind `absurd`.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


MAX_DIGITS = 60
"""Of a number as written, and of its power of ten; no benchmark's answer comes near."""

Kind = Literal["number", "absurd", "word", "command", "equal", "relation", "list", "end", "sign"]


@dataclass(frozen=True)
class Token:
    """A piece of a text."""

    kind: Kind
    text: str
    """As `plain` leaves it; operators and brackets stand for themselves, `\\times` and the like as `*` or `/`."""
    apart: bool = False
    """Whether a blank stands before it."""
    value: Fraction | None = None
    """Of a number."""


_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "₀₁₂₃₄₅₆₇₈₉₊₋"
_LEVEL = {ord(mark): sign for marks in (_RAISED, _LOWERED) for mark, sign in zip(marks, "0123456789+-", strict=True)}
_ONE_CHARACTER = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
    **dict.fromkeys(map(ord, "\t\v\f\r\u00a0\u1680\u180e\u202f\u205f\u3000~"), " "),
    **dict.fromkeys(range(0x2000, 0x200B), " "),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"), ""),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63"), "-"),  # an en dash counts as a minus
    **dict.fromkeys(map(ord, "\u2014\u2015"), " ; "),
    **dict.fromkeys(map(ord, "×✕✖⨯∗·⋅∙•"), "*"),
    **dict.fromkeys(map(ord, "÷∕⁄"), "/"),
    **dict.fromkeys(map(ord, "≈≃≅≡→⇒⟹∴"), "="),
    **dict.fromkeys(map(ord, "≤≥≠≮≯±∓"), "<"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u2032"), "'"),
    **dict.fromkeys(map(ord, '°º€£¥₹₽₩¢฿₫₦₱₴₪″\u201c\u201d"`'), " "),
}
_FRACTIONS = {
    chr(code): "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", chr(code)).split("\u2044"))
    for code in (0xBC, 0xBD, 0xBE, *range(0x2150, 0x215F))
}
_TEXT = (
    r"\\(?:text(?:bf|it|rm|tt|sf|sc|up|md|normal|color)?|math(?:rm|bf|it|sf|tt|bb|cal|normal)|mbox|hbox|operatorname\*?|"
    r"emph|underline|bm|boldsymbol|boxed|fbox)(?![A-Za-z])"
)
_REWRITTEN: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [  # in this order
    (re.compile(r"(?![0-9])\d"), lambda found: str(unicodedata.decimal(found.group()))),
    (re.compile(f"[{''.join(_FRACTIONS)}]"), lambda found: _FRACTIONS[found.group()]),
    (re.compile(f"[{_RAISED}]+"), lambda found: f"^{{{found.group().translate(_LEVEL)}}}"),
    (re.compile(f"[{_LOWERED}]+"), lambda found: f"_{{{found.group().translate(_LEVEL)}}}"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r",(?:\\[!,;: ])+ *(?=\d)"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\[,;:> ]|\\(?:q?quad|thinspace|enspace|space)(?![A-Za-z])"), " "),
    (re.compile(r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\.?"), ""),
    (re.compile(r"\^ ?(?:\\circ(?![A-Za-z])|\{ ?\\circ ?\})|\\(?:degree|textdegree)(?![A-Za-z])"), " "),
    (re.compile(r"\\?\$|\\[()\[\]]|\\(?:euro|pounds|cent|textdollar|displaystyle|textstyle)(?![A-Za-z])"), " "),
    (re.compile(rf"{_TEXT} ?\{{([^{{}}]*)\}}"), r" \1 "),
    (re.compile(rf"{_TEXT} ?\{{([^{{}}]*)\}}"), r" \1 "),  # text in text
    (re.compile(rf"{_TEXT}|\\(?:color|rm|bf|it|large|Large|huge)(?![A-Za-z])"), " "),
    (re.compile(r"\\([%#&_{}])"), r"\1"),
    (re.compile(r"\^ ?\{? *((?:st|nd|rd|th)(?![A-Za-z])) *\}?"), r"\1"),
    (re.compile(r"(?<=[\d)}\]])(?:\*\*| \*\* )(?=[\d({\\-])"), "^"),
    (re.compile(r"\*\*|__"), " "),  # bold
    (re.compile(r" {2,}"), " "),
]

_SPELT = {  # commands that stand for a sign
    **dict.fromkeys(("times", "cdot", "ast", "bullet"), "*"),
    **dict.fromkeys(("div",), "/"),
    **dict.fromkeys(("approx", "simeq", "sim", "equiv", "cong", "to", "rightarrow", "Rightarrow", "implies"), "="),
    **dict.fromkeys(("longrightarrow", "Longrightarrow", "therefore", "triangleq", "doteq"), "="),
    **dict.fromkeys(("le", "ge", "leq", "geq", "leqslant", "geqslant", "lt", "gt", "ne", "neq", "pm", "mp", "in"), "<"),
}
_TOKEN = re.compile(
    r"""(?P<coded>0(?:[xX][0-9a-fA-F]+|[bB][01]+|[oO][0-7]+)(?!\w))
    |(?P<number>(?:\d{1,3}(?:(?P<gap>[, '_])\d{3})(?:(?P=gap)\d{3})*(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?![\d.])|\d+)
        (?:\.\d+)?|\.\d+)(?P<exponent>[eE][+-]?\d+(?!\w|\.\d))?
    |\\(?P<command>[A-Za-z]+|.)
    |(?P<word>[^\W\d_]+)
    |(?P<equal>=+>?|:=|->)|(?P<relation>[<>]=?)|(?P<list>[,;&\n])|(?P<end>[.:?])|(?P<sign>\S)""",
    re.VERBOSE,
)


def plain(text: str) -> str:
    """The text in one notation: ASCII digits and signs, no typography, blanks single."""
    text = text.translate(_ONE_CHARACTER)
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    return text


def tokens(text: str) -> list[Token]:
    """The pieces of a text that `plain` returned, in order."""
    found: list[Token] = []
    end = 0
    for match in _TOKEN.finditer(text):
        kind, written = match.lastgroup or "", match.group()
        apart, end = match.start() > end, match.end()
        if match["number"] or match["coded"]:
            value = _value(match)
            found.append(Token("absurd" if value is None else "number", written, apart, value))
        elif match["command"]:
            sign = _SPELT.get(written[1:])
            kinds: dict[str | None, Kind] = {None: "command", "=": "equal", "<": "relation", "*": "sign", "/": "sign"}
            found.append(Token("list" if written == "\\\\" else kinds[sign], sign or written, apart))
        else:
            found.append(Token(kind, written, apart))  # type: ignore[arg-type]
    return found


def _value(match: "re.Match[str]") -> Fraction | None:
    """Exact value of a number; None for an absurd one. No part is turned into an integer before its length is known."""
    if match["coded"]:
        return Fraction(int(match["coded"], 0)) if len(match["coded"]) <= MAX_DIGITS else None
    written, exponent = match["number"], (match["exponent"] or "e0")[1:]
    gap = match["gap"]
    written = written.replace(gap, "") if gap else written
    if written.count(".") > 1:
        written = written.replace(".", "")
    if len(written) > MAX_DIGITS or len(exponent) > 4 or abs(int(exponent)) > MAX_DIGITS:
        return None
    return Fraction(written) * Fraction(10) ** int(exponent)
