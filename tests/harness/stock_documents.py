"""Documents for lm_eval's stock tasks without their data: from the fields that templates and functions name.

Where a template or the source of a function shows how a field is used (indexed, iterated, compared with a constant),
its values are of that kind. What that leaves open is tried out, kind by kind, and what an error names is added.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial
from typing import Any

import datasets
from jinja2 import TemplateSyntaxError, nodes
from lm_eval.utils import env


NUM_DOCUMENTS = 12
WORDS = ("red", "blue pens", "7", "B", "two inks", "paper")
METHODS = {name for name in dir(str) + dir(dict) if not name.startswith("_")}
LISTS = re.compile(r"choice|option|answers|list|targets|references|aliases|examples|labels|turns|messages|_ids$|s_list")
INDICES = re.compile(r"label|gold|answer_?idx|answer_index|correct|^idx$|index|target_idx|answerKey_idx")
STRATEGIES: tuple[Mapping[str, str], ...] = (
    {"list": "list", "index": "index", "other": "text"},
    {"list": "list", "index": "text", "other": "text"},
    {"list": "text", "index": "text", "other": "text"},
    {"list": "list", "index": "index", "other": "index"},
    {"list": "list", "index": "letter", "other": "numeral"},
    {"list": "list", "index": "letter", "other": "literal"},
    {"list": "list", "index": "index", "other": "list"},
    {"list": "indices", "index": "index", "other": "indices"},
    {"list": "list", "index": "index", "other": "boxed"},
    {"list": "lists", "index": "index", "other": "text"},
    {"list": "dicts", "index": "index", "other": "dicts"},
)
"""Kinds of the fields of which nothing is known but the name."""


class Fields:
    """What is known of a task's documents."""

    def __init__(self) -> None:
        self.names: dict[str, str | None] = {}
        """Kinds of fields; None where it is open."""
        self.parts: dict[str, set[str]] = {}
        """Fields of fields."""
        self.constants: dict[str, list[Any]] = {}
        """What the task selects documents by."""

    def add(self, name: str, kind: str | None = None) -> None:
        self.names[name] = kind or self.names.get(name)

    def part(self, name: str, of: str) -> None:
        self.add(of, "dict")
        self.parts.setdefault(of, set()).add(name)

    def documents(self, strategy: Mapping[str, str]) -> datasets.Dataset:
        rows = [{name: self._value(name, n, strategy) for name in self.names} for n in range(NUM_DOCUMENTS)]
        return datasets.Dataset.from_list(rows or [{"text": WORDS[n % 6]} for n in range(NUM_DOCUMENTS)])

    def _value(self, name: str, n: int, strategy: Mapping[str, str]) -> Any:
        if self.constants.get(name):
            return self.constants[name][n % len(self.constants[name])]
        role = "list" if LISTS.search(name.lower()) else "index" if INDICES.search(name.lower()) else "other"
        kind = self.names[name] or strategy[role]
        word = WORDS[(n + len(name)) % len(WORDS)]
        parts = sorted(self.parts.get(name, ())) or ["text"]
        values: dict[str, Callable[[], Any]] = {
            "text": lambda: f"{word} {n}",
            "numeral": lambda: str(n),
            "boxed": lambda: f"{word}: \\boxed{{{n}}}, so \\boxed{{{n}}}",
            "letter": lambda: "ABCD"[n % 4],
            "index": lambda: n % 2,
            "literal": lambda: f'["{word}", "{n}"]',
            "list": lambda: [f"{word} {i}" for i in range(n, n + 4)],
            "indices": lambda: [(n + i) % 3 for i in range(4)],
            "lists": lambda: [[f"{word} {i}", "ink"] for i in range(n, n + 4)],
            "dict": lambda: {part: self._value_of_part(part, n) for part in parts},
            "dicts": lambda: [{part: f"{word} {i}" for part in parts} for i in range(n, n + 4)],
        }
        return values[kind]()

    @staticmethod
    def _value_of_part(name: str, n: int) -> Any:
        if name.isalpha() and len(name) == 1:
            return f"{WORDS[n % 6]} {name}"
        return [f"{WORDS[n % 6]} {i}" for i in range(4)] if name in ("text", "label", "choices") else WORDS[n % 6]


def fields_of(config: Mapping[str, Any]) -> Fields:
    """What a task's configuration tells of its documents."""
    fields = Fields()
    for value in _leaves(config):
        if isinstance(value, str):
            _read_template(value, fields)
        elif callable(value):
            _read_function(value, fields, str(config.get("dataset_name")).split("-"))
    return fields


NAMING = (
    *("doc_to_text", "doc_to_target", "doc_to_choice", "doc_to_image", "doc_to_audio", "description", "gen_prefix"),
    *("process_docs", "process_results", "filter_list", "fewshot_config"),
)
"""Entries of a task that may name fields."""


def _leaves(config: Mapping[str, Any]) -> Iterator[Any]:
    def within(value: Any) -> Iterator[Any]:
        if isinstance(value, Mapping):
            for inside in value.values():
                yield from within(inside)
        elif isinstance(value, list):
            for inside in value:
                yield from within(inside)
        else:
            yield value

    for name in NAMING:
        value = config.get(name)
        if isinstance(value, str) and "{" not in value and name != "description" and re.fullmatch(r"\w+", value):
            yield f"{{{{ {value} }}}}" if name != "doc_to_choice" else f"{{{{ {value}[0] }}}}"
        else:
            yield from within(value)


def _read_template(text: str, fields: Fields) -> None:
    try:
        tree = env.parse(text)
    except TemplateSyntaxError:
        return
    made = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    for node in tree.find_all(nodes.Name):
        if node.name not in made and node.name not in env.globals:
            fields.add(node.name)
    free = {node.name for node in tree.find_all(nodes.Name)} & fields.names.keys() - made
    for loop in tree.find_all(nodes.For):
        if isinstance(loop.iter, nodes.Name) and loop.iter.name in free and isinstance(loop.target, nodes.Name):
            for _, part in _parts_named(loop, {loop.target.name}):
                fields.part(part, of=loop.iter.name)
                fields.add(loop.iter.name, "dicts")
    for holder, part in _parts_named(tree, free):
        fields.part(part, of=holder)
    for node in tree.find_all((nodes.Getitem, nodes.For, nodes.Filter)):
        within = [node.arg, *node.arg.find_all(nodes.Name)] if isinstance(node, nodes.Getitem) else []
        for name in {one.name for one in within if isinstance(one, nodes.Name)} & free:
            fields.add(name, "index")
        whole = node.iter if isinstance(node, nodes.For) else node.node
        if not isinstance(whole, nodes.Name) or whole.name not in free or fields.names[whole.name]:
            continue
        by_place = isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Slice)
        if by_place or isinstance(node, nodes.For) or getattr(node, "name", None) in ("join", "length"):
            fields.add(whole.name, "list")


def _parts_named(tree: nodes.Node, names: Set[str]) -> Iterator[tuple[str, str]]:
    """Which part of which of these names a template takes."""
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        part = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        is_part = isinstance(part, str) and (part not in METHODS or isinstance(node, nodes.Getitem))
        if is_part and isinstance(node.node, nodes.Name) and node.node.name in names:
            yield node.node.name, part


def _read_function(function: Any, fields: Fields, languages: list[str]) -> None:
    keywords: Mapping[str, Any] = {}
    while isinstance(function, partial):
        keywords, function = {**function.keywords, **keywords}, function.func
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return
    at = r"\b(?:doc|x|example|row|d|item|sample|line|ex|element|_doc)(?:\[\"(\w+)\"\]|\['(\w+)'\]|\.get\(\"(\w+)\")"
    for match in re.finditer(at + r"\]?\.(?:keys|items|values)\(", source):
        for language in languages:  # a translation by languages, which the task's data are named by
            fields.part(language, of=next(group for group in match.groups() if group))
    for match in re.finditer(at + r"\[\d\]\[[\"'](\w+)[\"']\]", source):
        name = next(group for group in match.groups()[:3] if group)
        fields.part(match.group(4), of=name)
        fields.add(name, "dicts")
    for match in re.finditer(r"for (\w+) in " + at, source):
        name = next(group for group in match.groups()[1:4] if group)
        if not fields.names.get(name):
            fields.add(name, "indices" if f"[{match.group(1)}]" in source else "list")
    for match in re.finditer(at + r"(\[\"(\w+)\"\]|\['(\w+)'\]|\[\d\]|\[\w+\])?", source):
        name = next(group for group in match.groups()[:3] if group)
        part = match.group(5) or match.group(6)
        if part and fields.names.get(name) != "dicts":
            fields.part(part, of=name)
        else:
            fields.add(name, fields.names.get(name) or ("list" if match.group(4) else None))
    for match in re.finditer(at + r"\s*==\s*(?:f?\"([^\"]+)\"|f?'([^']+)'|(\d+)\b|(\w+))", source):
        name = next(group for group in match.groups()[:3] if group)
        text, number, variable = match.group(4) or match.group(5), match.group(6), match.group(7)
        if text and "{" in text:
            text = re.sub(r"\{(\w+)\}", lambda found: str(keywords.get(found.group(1), "")), text)
        value = text or (int(number) if number else keywords.get(variable))
        if value is not None:
            fields.constants.setdefault(name, []).append(value)


def learn(error: Exception, fields: Fields) -> bool:
    """Add what an error names as missing; False if it names nothing new."""
    text = str(error)
    found = re.fullmatch(r"'([\w -]+)'", text) if isinstance(error, KeyError) else None
    found = found or re.search(r"'(\w+)' is undefined", text) or re.search(r"Column '?(\w+)'? (?:not|doesn't)", text)
    if found and found.group(1) not in fields.names:
        fields.add(found.group(1))
        return True
    part = re.search(r"dict object' has no attribute '(\w+)'", text) or found
    holders = [name for name, kind in fields.names.items() if kind == "dict"]
    if part and any(part.group(1) not in fields.parts[name] for name in holders):
        for name in holders:
            fields.part(part.group(1), of=name)
        return True
    return False
