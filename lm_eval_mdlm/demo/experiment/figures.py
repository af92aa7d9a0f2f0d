"""From results on disk to the numbers of the page: each base's own, and means over the bases that pass the gate."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from .arms import ARMS, Arm
from .parts import AREAS
from .scheduling import folder_of
from .settings import Settings
from .stages import Stages


STAGES = ("data", "base", "greedy", "traces", AREAS, *(f"arm-{arm.name}" for arm in ARMS))


@dataclass(frozen=True)
class Mean:
    """Over bases."""

    value: float
    standard_error: float
    """NaN for a single base."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean | None":
        """None of no values."""
        if not values:
            return None
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(statistics.fmean(values), error)


@dataclass(frozen=True, kw_only=True)
class BaseFigures:
    """Of one base."""

    seed: int
    results: dict[str, dict[str, Any]]
    """By stage."""
    seconds: dict[str, float]
    """That each stage took."""
    passes: bool
    """Whether the gate lets it into the means."""

    @classmethod
    def read(cls, settings: Settings, out: Path, seed: int) -> "BaseFigures":
        """UsageError if a stage is not there."""
        stages = Stages(folder_of(out, seed))
        known = {name: stages.known(name) for name in STAGES}
        if missing := [name for name, one in known.items() if one is None]:
            raise UsageError(f"base {seed} has no results of {', '.join(missing)}; run the same command again.")
        there = {name: one for name, one in known.items() if one is not None}
        results = {name: one["result"] for name, one in there.items()}
        return cls(
            seed=seed,
            results=results,
            seconds={name: one["seconds"] for name, one in there.items()},
            passes=results["greedy"]["development"]["hit"] >= 100 * settings.gate,
        )

    def arm(self, arm: Arm) -> dict[str, Any]:
        """`lines` it was trained on; `n` test problems, of which `hit` and `right` percent."""
        return self.results[f"arm-{arm.name}"]

    def right_traces(self, kind: str) -> float | None:
        """Percent of the sampled traces of problems that greedy decoding failed; None if it failed none."""
        found: float | None = self.results["traces"][kind]["failed"].get("right")
        return found

    def areas(self, kind: str) -> dict[float, float | None]:
        """Area under the ROC curve by share of the trace."""
        return {one["share"]: one["auc"] for one in self.results[AREAS][kind]}


def read_figures(settings: Settings, out: Path) -> list[BaseFigures]:
    """All bases, in the order of the settings, whether they pass or not."""
    return [BaseFigures.read(settings, out, seed) for seed in settings.bases]


def mean_of(bases: Sequence[BaseFigures], value: Callable[[BaseFigures], float | None]) -> Mean | None:
    """Over the bases that pass the gate and have a value."""
    found = [own for base in bases if base.passes and (own := value(base)) is not None]
    return Mean.of(found)
