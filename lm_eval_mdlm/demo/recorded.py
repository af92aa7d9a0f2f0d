"""What `python -m lm_eval_mdlm.demo.sweep` found on 600 problems, and the tables and the plot made of it.

`python -m lm_eval_mdlm.demo.recorded` prints them as README.md and tasks/demo/README.md have them.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ways import Outcome


FILE = Path(__file__).with_name("recorded.json")
KINDS = ("single", "fixed", "med", "exit")
WIDTH, HEIGHT = 66, 13
LEFT, RIGHT = 10, 125
"""Ends of the plot's axis of passes, which is logarithmic."""
BOTTOM, TOP = 70, 94
"""Ends of its axis of accuracy, percent."""
SHORT = {"single": "k = 1", "med": "MED", "exit": "MED + exit"}


@dataclass(frozen=True, kw_only=True)
class Record:
    """All figures of a sweep."""

    block_lengths: dict[str, int]
    """Chosen on validation problems, by kind of way."""
    validation: list[Outcome]
    test: list[Outcome]
    more_fixed: list[Outcome]

    def chosen(self, kind: str) -> Outcome:
        """A way at its block length, on test problems."""
        return next(o for o in self.test if (o.kind, o.block_length) == (kind, self.block_lengths[kind]))


def read_record(path: Path = FILE) -> Record:
    """The packaged figures."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    lists = {name: [Outcome(**o) for o in values[name]] for name in ("validation", "test", "more_fixed")}
    return Record(block_lengths=values["block_lengths"], **lists)


def results(record: Record) -> str:
    """Every way at its block length, in Markdown."""
    lines = ["| decoding | block length | accuracy, % | NFE |", "|---|---|---|---|"]
    for outcome in map(record.chosen, KINDS):
        lines.append(f"| {outcome.label} | {outcome.block_length} | {_accuracy(outcome)} | {outcome.nfe:.1f} |")
    return "\n".join(lines)


def sweep_table(outcomes: Sequence[Outcome]) -> str:
    """Every way at every block length, in Markdown."""
    lines = [
        "| block length | " + " | ".join(("k = 1", "fixed k", "MED", "MED + exit")) + " |",
        "|---|---|---|---|---|",
    ]
    for length in dict.fromkeys(outcome.block_length for outcome in outcomes):
        found = {outcome.kind: outcome for outcome in outcomes if outcome.block_length == length}
        cells = [_cell(found[kind]) for kind in KINDS]
        lines.append(f"| {length} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(outcome: Outcome) -> str:
    name = f"{outcome.label.removeprefix('fixed ')}: " if outcome.kind == "fixed" else ""
    return f"{name}{_accuracy(outcome)} @ {outcome.nfe:.1f}"


def _accuracy(outcome: Outcome) -> str:
    return f"{100 * outcome.accuracy:.1f} ± {100 * outcome.standard_error:.1f}"


def plot(record: Record) -> str:
    """Accuracy over passes, in characters: filled circles for the ways compared, open ones for more of fixed k."""
    rows = [[" "] * WIDTH for _ in range(HEIGHT)]
    for outcome in [*record.more_fixed, *map(record.chosen, KINDS)]:
        mark = "○" if outcome.kind == "fixed" else "●"
        label = SHORT.get(outcome.kind, outcome.label.removeprefix("fixed "))
        column, row = _column(outcome.nfe), _row(100 * outcome.accuracy)
        text = f"{mark} {label}"
        start = column if column + len(text) <= WIDTH else column - len(text) + 1
        text = text if start == column else f"{label} {mark}"
        rows[row][start : start + len(text)] = text
    ticks = {_row(accuracy): f"{accuracy:3}" for accuracy in (70, 75, 80, 85, 90)}
    lines = ["accuracy, %"]
    lines += [f"{ticks.get(i, '   ')} │{''.join(row).rstrip()}" for i, row in enumerate(rows)]
    scale = [" "] * (WIDTH + 4)
    for nfe in (12, 25, 50, 100):
        scale[_column(nfe) : _column(nfe) + len(str(nfe))] = str(nfe)
    return "\n".join([*lines, "    └" + "─" * WIDTH, "     " + "".join(scale).rstrip() + "  NFE"])


def _column(nfe: float) -> int:
    return round((WIDTH - 1) * math.log(nfe / LEFT) / math.log(RIGHT / LEFT))


def _row(percent: float) -> int:
    return round((HEIGHT - 1) * (TOP - percent) / (TOP - BOTTOM))


if __name__ == "__main__":
    found = read_record()
    print(results(found), plot(found), "test", sweep_table(found.test), sep="\n\n")
    print("\nvalidation", sweep_table(found.validation), sep="\n\n")
