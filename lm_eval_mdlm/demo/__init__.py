"""The packaged demo: a small masked diffusion model that reasons, and the problems it was made for."""

from pathlib import Path


_FOLDER = Path(__file__).resolve().parent


def problems_file(name: str) -> Path:
    """The packaged test problems of one kind: `word_problems` or `puzzles`; JSON Lines."""
    return _FOLDER / "problems" / f"{name}.jsonl"
