"""A LaTeX answer, written in the ways of people and models."""

import re
from collections.abc import Iterator

from .answer_forms import Form


_AROUND = {
    "box": r"\boxed{%s}",
    "full stop in the box": r"\boxed{%s.}",
    "comma in the box": r"\boxed{%s,}",
    "semicolon in the box": r"\boxed{%s;}",
    "colon in the box": r"\boxed{%s:}",
    "blank and full stop": r"\boxed{%s .}",
    "open box": "So\nThe answer is \\boxed{%s",
    "open box, full stop": r"\boxed{%s.",
    "open box, comma": r"\boxed{%s,",
    "open box, semicolon": r"\boxed{%s;",
    "box, then an open empty one": "\\boxed{%s}\nThe answer is \\boxed{",
    "two boxes": r"\boxed{-77} or rather \boxed{%s}",
    "formula": r"So $\boxed{%s}$. I hope it is correct.",
    "\\fbox": r"\fbox{%s}",
    "braces": r"\boxed{{%s}}",
    "\\( \\) in the box": r"\boxed{\(%s\)}",
    "$ $ in the box": r"\boxed{$%s$}",
    "\\[ \\] in the box": r"\boxed{\[%s\]}",
    "$ $ and full stop": r"\boxed{$%s$.}",
    "\\displaystyle": r"\boxed{\displaystyle %s}",
    "TeX blanks": r"\boxed{\, %s \;}",
    "bold": r"\boxed{\mathbf{%s}}",
    "braces and full stop": r"\boxed{{%s}.}",
}


_CHANGED = [
    ("\\dfrac", r"\\frac", r"\\dfrac"),
    ("without \\left and \\right", r"\\(?:left|right)(?![a-z])", ""),
    ("blanks taken out", r" (?![A-Za-z])", ""),
]


def latex_forms() -> Iterator[tuple[str, Form]]:
    """Name and form of each way; a form takes the reference and returns a solution's text."""
    for name, text in _AROUND.items():
        yield name, lambda latex, text=text: text.replace("%s", latex)
    for name, pattern, replacement in _CHANGED:
        yield name, lambda latex, pattern=pattern, new=replacement: "\\boxed{" + re.sub(pattern, new, latex) + "}"
