"""The packaged demo: a small masked diffusion model that reasons, and the problems it was made for."""

import json
from pathlib import Path


_FOLDER = Path(__file__).resolve().parent


def problems_file(name: str) -> Path:
    """The packaged test problems of one kind: `word_problems` or `puzzles`; JSON Lines."""
    return _FOLDER / "problems" / f"{name}.jsonl"


def read_problems(limit: int) -> list[dict[str, str]]:
    """The first `limit` packaged word problems."""
    with problems_file("word_problems").open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(limit), strict=False)]
