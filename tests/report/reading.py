"""A page as a program sees it: elements, tables, ids and links."""

import json
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """Parsed HTML.

    Args:
        html: The whole file.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self._title = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "h4":
            self._title = ""
        elif tag == "table":
            self.tables[self._title.strip()] = []
        elif tag == "tr":
            list(self.tables.values())[-1].append([])
        elif tag in ("td", "th"):
            list(self.tables.values())[-1][-1].append("")
        elif tag == "small":
            list(self.tables.values())[-1][-1][-1] += " ("
        elif tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass
        if tag == "small":
            list(self.tables.values())[-1][-1][-1] += ")"

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts[-1] += data
        elif "style" not in self._open:
            self.text += data
        if "h4" in self._open:
            self._title += data
        if {"td", "th"} & set(self._open):
            list(self.tables.values())[-1][-1][-1] += data

    @property
    def ids(self) -> list[str]:
        """Of all elements."""
        return [own["id"] for _, own in self.tags if own.get("id")]  # type: ignore[misc]

    @property
    def data(self) -> Any:
        """What the script of the page reads."""
        return json.loads(self.scripts[0])

    def count(self, tag: str) -> int:
        """Elements of this name."""
        return sum(one == tag for one, _ in self.tags)
