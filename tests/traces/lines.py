"""Lines of traces that a test makes up."""

import json
from pathlib import Path
from typing import Any


def line(i: int = 0, **changes: Any) -> dict[str, Any]:
    own = {"task": "pens", "doc_id": i, "trace": 0, "prompt": f"How many is {i}?", "solution": f"{i} + 1 = {i + 1}"}
    return {**own, "answer": str(i + 1), **changes}


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]
