"""Outputs of the official code, which live beside the repository and are not part of it."""

from pathlib import Path

import pytest


GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="golden data are not at ../shared/golden")
