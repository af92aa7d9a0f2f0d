"""The benchmarks' real files, where a developer has them beside the repository."""

import gzip
import json
from pathlib import Path

import pytest


DATA_DIR = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def real_documents():
    """Reads one of the real files: its documents, in order."""

    def read(name: str) -> list[dict]:
        path = DATA_DIR / name
        if not path.is_file():
            pytest.skip(f"the real benchmark file {name} is not beside this repository")
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    return read
