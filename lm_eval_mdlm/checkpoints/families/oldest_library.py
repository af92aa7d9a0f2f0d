"""The oldest transformers that runs networks with experts."""

import transformers
from packaging.version import Version

from ...errors import UsageError
from ..raw_config import RawConfig


OLDEST = Version("5.10")
"""Before it, GLM-4-MoE's router counts experts of excluded groups as 0 and not as minus infinity, so that one can be
chosen, and experts cannot be run by a function of one's own."""


def refuse_old_library(raw: RawConfig, family: str) -> None:
    """UsageError where an older one is installed."""
    if Version(transformers.__version__) < OLDEST:
        raise UsageError(
            f"{raw.path}: {family} with experts needs transformers {OLDEST} or later, got {transformers.__version__}, "
            f"which chooses or runs them otherwise; pip install --upgrade transformers."
        )
