from pathlib import Path

import pytest

from tests.training.running import LINES, write_lines


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "train.jsonl", LINES)


@pytest.fixture(params=["llada", "dream"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param
