"""The parts that a base's work is cut into, each for a process of its own."""

from typing import Any

from .arms import ANSWERS_ONLY, ARMS, Arm
from .settings import Settings


BASE = "base"
"""Data, the base, its greedy solutions and its traces: what all other parts start from."""
AREAS = "areas"
PARTS = (BASE, AREAS, *(f"arm-{arm.name}" for arm in ARMS))


def arm_of(part: str) -> Arm:
    """The arm that a part is about."""
    return next(arm for arm in ARMS if part == f"arm-{arm.name}")


def tuning_of(settings: Settings, arm: Arm) -> dict[str, Any]:
    """Options by which an arm is trained."""
    return {**settings.tuning, **(settings.answers_only if arm.name == ANSWERS_ONLY else {})}
