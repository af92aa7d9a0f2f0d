"""What the base is fine-tuned on: one file of training lines for each arm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...traces.selection import Selection
from ...traces.trace import Trace
from ..prepare import write_lines
from .data import read_lines


Lines = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Material:
    """Where the lines come from."""

    gold: Path
    """Problems with gold solutions."""
    posterior: Path
    """Traces sampled given the answer."""
    own: Path
    """Traces sampled without it."""

    def kept(self, path: Path, label: str) -> Lines:
        """Lines of a file of traces whose label is true, as `lm-eval-mdlm select --correct` keeps them."""
        found = [Trace(path, number, line) for number, line in enumerate(read_lines(path), start=1)]
        return [dict(trace.record) for trace in Selection(correct=label).of(found)]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to make training lines."""

    name: str
    label: str
    """For the reader of the table."""
    lines: Callable[[Material], Sequence[dict[str, Any]]]

    def write(self, material: Material, path: Path) -> int:
        """Write the arm's file; the number of its lines."""
        lines = [{key: str(line[key]) for key in ("prompt", "solution", "answer")} for line in self.lines(material)]
        write_lines(path, lines)
        return len(lines)


UNTUNED, ANSWERS_ONLY = "none", "answers"
ARMS = (
    Arm(name=UNTUNED, label="base", lines=lambda m: []),
    Arm(name="gold", label="gold solutions", lines=lambda m: read_lines(m.gold)),
    Arm(name="posterior", label="posterior traces", lines=lambda m: read_lines(m.posterior)),
    Arm(
        name="filtered",
        label="posterior traces, right arithmetic",
        lines=lambda m: m.kept(m.posterior, "consistent"),
    ),
    Arm(name="both", label="gold and posterior", lines=lambda m: [*read_lines(m.gold), *read_lines(m.posterior)]),
    Arm(name="rejection", label="own traces that hit the answer", lines=lambda m: m.kept(m.own, "hit")),
    Arm(name="own", label="own traces before gold answers", lines=lambda m: read_lines(m.own)),
    Arm(
        name=ANSWERS_ONLY,
        label="answers only",
        lines=lambda m: [{**line, "solution": ""} for line in read_lines(m.gold)],
    ),
)
