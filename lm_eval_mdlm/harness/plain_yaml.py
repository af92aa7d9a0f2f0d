"""YAML files as plain values, read so that no file can run code, fill the memory or take for ever."""

from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from ..files import only_a_file


MOST_BYTES = 2**20
MOST_NODES = 100_000
"""Values of a document with every alias written out: ten lines of aliases can stand for more than any memory holds."""
MOST_DEPTH = 50


def read_yaml(path: Path) -> Any:
    """The one document of a file.

    Raises:
        UsageError: If it cannot be read, is no YAML of plain values, or is far larger than anybody writes by hand.
    """
    try:
        size = only_a_file(path).stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"it must be a file of at most {MOST_BYTES} bytes, got {size}")
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _size(node, {}, 0)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    # PyYAML lets whatever a constructor of its own raises through, such as for a 13th month.
    except (OSError, yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(f"{path} cannot be read as YAML: {reason[:300]}; correct it.") from None
    except RecursionError:
        raise UsageError(f"{path} cannot be read as YAML: it is nested too deeply; correct it.") from None


def _size(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Number of values with all aliases written out; ValueError if there are too many, or one holds itself."""
    if known.get(id(node)) == 0 or depth > MOST_DEPTH:
        raise ValueError(f"values within values, more than {MOST_DEPTH} deep")
    if id(node) not in known:
        known[id(node)] = 0
        inner = [child for pair in node.value for child in (pair if isinstance(pair, tuple) else [pair])]
        size = 1 + sum(_size(child, known, depth + 1) for child in inner) if not isinstance(node.value, str) else 1
        if size > MOST_NODES:
            raise ValueError(f"it must hold at most {MOST_NODES} values, aliases written out")
        known[id(node)] = size
    return known[id(node)]
