"""Tables as plain values, and their forms outside of a page."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One cell."""

    text: str
    note: str = ""
    """A line more, smaller."""
    mark: str = ""
    """`better`, `worse`, `flag` or `muted`; a page shows it by colour, and nothing is said by it alone."""
    link: str = ""
    """Place on the page, without #."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under headings; the first entry of a row names it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    remarks: Sequence[str] = field(default=())
    """Sentences under the table."""


def markdown(table: Table) -> str:
    """As GitHub reads it: title, table, remarks."""
    lines = [_markdown_row(table.columns), _markdown_row(["---"] * len(table.columns))]
    lines += [_markdown_row([_whole(entry) for entry in row]) for row in table.rows]
    return "\n".join([f"### {_markdown_text(table.title)}", "", *lines, "", *map(_markdown_text, table.remarks), ""])


def markdown_list(title: str, lines: Sequence[str]) -> str:
    """Sentences under a heading."""
    return "\n".join([f"## {_markdown_text(title)}", "", *(f"- {_markdown_text(line)}" for line in lines), ""])


def latex(table: Table) -> str:
    """With the rules of booktabs."""
    rows = [" & ".join(map(_latex_text, table.columns)) + r" \\", r"\midrule"]
    rows += [" & ".join(_latex_text(_whole(entry)) for entry in row) + r" \\" for row in table.rows]
    body = "\n".join([r"\toprule", *rows, r"\bottomrule"])
    columns = "l" + "r" * (len(table.columns) - 1)
    caption = _latex_text(" ".join([table.title + ".", *table.remarks]))
    inside = f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n\\caption{{{caption}}}"
    return f"% \\usepackage{{booktabs}}\n\\begin{{table}}\n\\centering\n{inside}\n\\end{{table}}\n"


def _whole(entry: Entry) -> str:
    return f"{entry.text} ({entry.note})" if entry.note else entry.text


def _markdown_row(entries: Sequence[str]) -> str:
    return "| " + " | ".join(map(_markdown_text, entries)) + " |"


def _markdown_text(text: str) -> str:
    """Names may hold anything: nothing of them is to be read as a mark or as HTML."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\\", "\\\\")
    for mark in "|`*_[]":
        escaped = escaped.replace(mark, f"\\{mark}")
    return " ".join(escaped.split())


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
