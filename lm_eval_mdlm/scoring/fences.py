"""Code in Markdown fences, as models write them into an answer.

A fence is three or more backticks anywhere, or three or more tildes at the start of a line; blanks, list marks and ">"
may stand before it. It is closed by the next mark of its kind that is as long, at the start of a line or behind code;
one that is not closed reaches to the end. The name of a language behind the opening mark is left out.
"""

import re
import textwrap
from dataclasses import dataclass


_MARK = re.compile(r"(?P<line>^[ \t]*(?:(?:[-*+>]|\d+[.)])[ \t]+)*)?(?P<mark>`{3,}|~{3,})", re.MULTILINE)
_LANGUAGE = re.compile(r"[ \t]*(?:[A-Za-z][\w+#.-]*|\{[^}\n]*\})?[ \t]*(?:\n|\Z)|(?:python3?|py)(?=\s)[ \t]*")


@dataclass(frozen=True)
class Fenced:
    """What stands before the first fence of a text, and in each of its fences."""

    before: str
    blocks: tuple[str, ...]
    margins: tuple[int, ...]
    """How far each fence stands from the left; 0 for one within a line."""


def fenced(text: str) -> Fenced:
    """The parts of a text; without a fence all of it stands before."""
    blocks: list[str] = []
    margins: list[int] = []
    before, opened, start = text, "", 0
    for found in _MARK.finditer(text):
        mark = found["mark"]
        at_line_start = found["line"] is not None
        if mark[0] == "~" and not at_line_start:
            continue
        if not opened:
            if not blocks:
                before = text[: found.start("line" if at_line_start else "mark")]
            language = _LANGUAGE.match(text, found.end())
            opened, start = mark, language.end() if language else found.end()
            margins.append(len(found["line"]) if at_line_start else 0)
        elif mark[0] == opened[0] and len(mark) >= len(opened):
            blocks.append(text[start : found.start("line" if at_line_start else "mark")])
            opened = ""
    if opened:
        blocks.append(text[start:])
    return Fenced(before, tuple(blocks), tuple(margins))


def code_of(text: str, definition: re.Pattern[str]) -> str:
    """The code in a completion of a function that `definition` finds.

    What stands before the first fence, if it goes on with the function (its first line is indented) or holds the
    definition; else the first fence with the definition, moved to the left margin; else the first fence, moved by
    its own distance from the margin if its code stays indented. Without a fence the text itself.
    """
    parts = fenced(text)
    if not parts.blocks or _continues(parts.before) or definition.search(parts.before):
        return parts.before
    for block in parts.blocks:
        for code in (block, textwrap.dedent(block)):
            if definition.search(code):
                return code
    body = parts.blocks[0]
    moved = re.sub(rf"^[ \t]{{{parts.margins[0]}}}", "", body, flags=re.MULTILINE)
    return moved if _continues(moved) else body


def _continues(code: str) -> bool:
    first = next((line for line in code.split("\n") if line.strip()), "")
    return first.startswith((" ", "\t"))
