"""Lines in docs/faults.md are those of the code: each is a text of it, with something in its gaps."""

import ast
import functools
import re
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
FRAME = re.compile(
    r"^(lm_eval_mdlm: )?(error: )?(stopped by SIG[A-Z]+; )?(process \d+ (?=must |did ))?"
    r"|, and process \d+ does not go on without it\.$"
)
"""What is put around a text where it is told."""
GAP = re.compile(r"%[-.\d]*[sdf]|\{[^}]*\}")
LEAST = 0.19
"""Share of a line that a text has to give itself; what is mostly gaps would fit any line."""
Text = tuple[str, ...]
"""Pieces between which something is filled in."""


@functools.cache
def texts() -> list[Text]:
    """All texts in the code."""
    found = set()
    for path in (ROOT / "lm_eval_mdlm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                pieces = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                found.add(tuple(GAP.split("".join(pieces))))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(tuple(GAP.split(node.value)))
    return sorted(found)


def lines() -> list[str]:
    """What the tables of the page quote, but for names of options and files."""
    rows = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()
    quoted = [span for row in rows if row.startswith("|") for span in re.findall(r"`([^`]+)`", row)]
    return list(dict.fromkeys(span for span in quoted if " " in span.strip() and not span.startswith("python")))


def fits(text: Text, line: str) -> bool:
    """Whether the line is the text with something, or nothing, in its gaps."""
    first, *others = text
    if not line.startswith(first) or sum(map(len, text)) > len(line):
        return False
    if not others:
        return line == first
    place = len(first)
    for piece in others[:-1]:
        place = line.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return line.endswith(others[-1]) and len(line) - len(others[-1]) >= place


def is_told(line: str) -> bool:
    """Whether one of the texts gives this line; of one that the page cuts off at a gap, whether it has this piece."""
    own = FRAME.sub("", line)
    if line.endswith(" ") or line.startswith(";"):
        (piece,) = re.split(r"^.*\d", own)[-1:]
        return any(piece in text[:-1] or piece == text[-1] for text in texts())
    return any(sum(map(len, text)) >= LEAST * len(own) and fits(text, own) for text in texts())


@pytest.mark.parametrize("line", lines())
def test_a_line_of_the_page_is_one_that_the_code_tells(line):
    assert is_told(line)


def test_a_line_with_another_word_is_found():
    assert len(lines()) > 30
    changed = [re.sub(r"\b(the|is|be|and|for|by)\b", r"\1 very", line, count=1) for line in lines()]
    unlike = [line for line, before in zip(changed, lines(), strict=True) if line != before]
    assert len(unlike) > 25
    assert sum(map(is_told, unlike)) < len(unlike) / 4  # words in gaps may be any
