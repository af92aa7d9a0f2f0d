"""What a run is expected to take, as it is printed and kept."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files import only_a_file


KIND = "mdlm_estimate"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TaskEstimate:
    """Of one task."""

    documents: int
    requests: int
    nfe: float
    """Mean per document."""
    seconds: float
    """Of its answers."""
    options: Mapping[str, Any]
    """That have an effect, as a results file has them."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of a run in one process."""

    tasks: Mapping[str, TaskEstimate]
    load_seconds: float
    """That loading took; the harness counts it into a run's total time."""
    prepare_seconds: float
    """That requests took to write, for all documents."""
    answer_seconds: float
    """Of all answers, the checks of their requests included, as a results file has it."""
    relative_error: float
    """Standard error of `answer_seconds` from the number of requests tried, relative."""
    passes: int
    peak_bytes: int
    peak_of: str
    """`GPU`: what torch has allocated there; `process`: the resident set."""
    batch_size: int | str
    device_name: str
    fingerprint: str
    """Of the weights."""

    def write(self, path: Path) -> None:
        """As JSON."""
        content = {KIND: VERSION, **dataclasses.asdict(self)}
        try:
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--output {path} cannot be written ({error.strerror}); name another.") from error

    @classmethod
    def read(cls, path: Path) -> "Estimate":
        """The inverse; UsageError for a file that is none."""
        try:
            content = json.loads(only_a_file(path).read_text(encoding="utf-8"))
            if content.pop(KIND) != VERSION:
                raise ValueError("of another version")
            tasks = {name: TaskEstimate(**own) for name, own in content.pop("tasks").items()}
            return cls(tasks=tasks, **content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"--compare {path} must be a file that doctor --output wrote ({type(error).__name__}: {error}); "
                f"correct it."
            ) from None


def duration(seconds: float) -> str:
    """For people."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
