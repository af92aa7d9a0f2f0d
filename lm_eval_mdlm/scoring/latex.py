r"""A LaTeX answer without what does not belong to its value, so that two of them can be compared.

Taken off: punctuation and TeX blanks at the end, also within a last `\text{...}`; braces, `\(...\)`, `$...$` and fonts
around the whole; separators of thousands (`10,\!080`, `2\,220`, `2 220`); a percent sign at the end. `°` becomes
`^\circ`. Nothing is evaluated here.
"""

import re
from dataclasses import dataclass


MAX_LENGTH = 1000
"""Characters of an answer that is read at all; the references have at most 53."""

_BLANK = r"\\[,;:! ]|\\(?:q?quad|thinspace)(?![A-Za-z])|~|\s"
_BLANKS_AROUND = re.compile(rf"^(?:{_BLANK})+|(?:(?<!\\)(?:{_BLANK}))+$")
_PUNCTUATION = re.compile(r"(?<!\\)[.,;:]$")
_PUNCTUATION_IN_TEXT = re.compile(r"^(.*\\(?:text|mbox|mathrm|textbf|textit)\s*\{[^{}]*?)[.,;:\s]+\}$", re.DOTALL)
_FONTS = re.compile(r"^\\(?:boxed|fbox|mathbf|mathrm|textbf|boldsymbol|bm|displaystyle|textstyle)(?![A-Za-z])\s*")
_WRAPPINGS = [("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"), ("**", "**")]
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,\\!|\{,\}|\\[,;:! ]|~| |\u2009|\u202f|\u00a0)\s*\d{3})+(?!\d)")
_DEGREES = re.compile(r"°|\\degree(?![A-Za-z])|\^\s*\{\s*\\circ\s*\}")
_PERCENT = re.compile(r"\s*(?:\\?%|\\text\s*\{\s*(?:percent|%|\\%)\s*\}|percent)$")
_BASED = re.compile(
    r"^(?:[A-Za-z]\s*=\s*)?\(?\s*([0-9A-Fa-f]+)\s*\)?\s*_\s*(?:\{\s*)?(?:\\text\s*\{)?\s*([a-z]+|\d+)\s*\}?\s*\}?$"
)
_BASE_NAMES = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_BASES = {name: number for number, name in enumerate(_BASE_NAMES.split(), start=2)}
_RELATION = r"<|>|≤|≥|\\(?:leq?|geq?|lt|gt)(?:slant)?(?![A-Za-z])"
_SET_OF = re.compile(r"^\\\{\s*[A-Za-z]\s*(?:\\mid(?![A-Za-z])|\||:)(.*)\\\}$", re.DOTALL)
_OR = re.compile(r"\\text\s*\{\s*or\s*\}|\\(?:lor|vee)(?![A-Za-z])|(?<![A-Za-z])or(?![A-Za-z])")
_BOUND = re.compile(rf"^\s*([A-Za-z])\s*({_RELATION})(.+)$", re.DOTALL)
_BOUND_FIRST = re.compile(rf"^(.+?)({_RELATION})\s*([A-Za-z])\s*$", re.DOTALL)
_BETWEEN = re.compile(rf"^(.+?)({_RELATION})\s*([A-Za-z])\s*({_RELATION})(.+)$", re.DOTALL)
_ZERO_ON_THE_RIGHT = re.compile(r"^[^=]*[A-Za-z][^=]*=\s*0$")
_DECIMAL = re.compile(r"(?<![\d.])0?\.(0*)\d")


@dataclass(frozen=True)
class Based:
    """A number written in a base."""

    digits: str
    base: int


def tidied(latex: str) -> str:
    """The answer without punctuation, wrappings and typography around its value."""
    before = None
    while latex != before:
        before = latex
        latex = _BLANKS_AROUND.sub("", latex)
        latex = _PUNCTUATION.sub("", latex)
        latex = _PUNCTUATION_IN_TEXT.sub(r"\1}", latex)
        latex = _unwrapped(latex)
    latex = _THOUSANDS.sub(lambda found: re.sub(r"\D", "", found.group()), latex)
    return _PERCENT.sub("", _DEGREES.sub(r"^\\circ", latex))


def as_intervals(latex: str) -> str:
    r"""Inequalities in one variable that are joined by "or", as a union of intervals; any other answer as it is."""
    inside = _SET_OF.match(latex)
    pieces = _OR.split(inside[1] if inside else latex)
    intervals = [_interval(piece.strip()) for piece in pieces] if inside or len(pieces) > 1 else []
    return r" \cup ".join(filter(None, intervals)) if intervals and all(intervals) else latex


def _interval(inequality: str) -> str | None:
    if found := _BETWEEN.match(inequality):
        low, first, _, second, high = found.groups()
        if _points_up(first) != _points_up(second):
            return None
        if not _points_up(first):
            low, first, second, high = high, second, first, low
        return f"{'(' if _is_strict(first) else '['}{low}, {high}{')' if _is_strict(second) else ']'}"
    if found := _BOUND.match(inequality):
        relation, bound, up = found[2], found[3], _points_up(found[2])
    elif found := _BOUND_FIRST.match(inequality):
        bound, relation, up = found[1], found[2], not _points_up(found[2])
    else:
        return None
    if up:
        return rf"(-\infty, {bound}{')' if _is_strict(relation) else ']'}"
    return rf"{'(' if _is_strict(relation) else '['}{bound}, \infty)"


def _points_up(relation: str) -> bool:
    """Whether what stands behind it is the larger."""
    return relation in ("<", "≤") or relation.startswith("\\l")


def _is_strict(relation: str) -> bool:
    return relation in ("<", ">") or relation in ("\\lt", "\\gt")


def is_equation_of_zero(latex: str) -> bool:
    """Whether it is an equation such as 5x - 7y + 4 = 0: its right side is not the answer to anything."""
    left = latex.partition("=")[0]
    return bool(_ZERO_ON_THE_RIGHT.match(latex)) and any(sign in left.strip()[1:] for sign in "+-")


def _unwrapped(latex: str) -> str:
    for opening, closing in _WRAPPINGS:
        inside = latex[len(opening) : -len(closing)]
        around = latex.startswith(opening) and latex.endswith(closing) and len(latex) > len(opening + closing)
        if around and opening not in inside and not inside.endswith("\\"):
            return inside
    if latex.startswith("{") and _closes_at_end(latex):
        return latex[1:-1]
    font = _FONTS.match(latex)
    rest = latex[font.end() :] if font else ""
    if font and ("style" in font.group() or (rest.startswith("{") and _closes_at_end(rest))):
        return rest
    return latex


def _closes_at_end(latex: str) -> bool:
    """Whether the first brace is closed by the last character."""
    depth = 0
    for found in re.finditer(r"(?<!\\)[{}]", latex):
        depth += 1 if found.group() == "{" else -1
        if depth == 0:
            return found.end() == len(latex)
    return False


def based(latex: str) -> Based | None:
    """The digits and the base of a number with a base at its foot; None for anything else."""
    found = _BASED.match(latex)
    if not found:
        return None
    base = _BASES.get(found[2]) or (int(found[2]) if found[2].isdigit() and len(found[2]) < 3 else 0)
    return Based(found[1].lstrip("0").upper(), base) if base else None


def decimal_places(*answers: str) -> int:
    """Places to which decimals are to be compared, so that six significant ones are: more where 0.00... begins one."""
    return 6 + max((len(zeros) for answer in answers for zeros in _DECIMAL.findall(answer)), default=0)
