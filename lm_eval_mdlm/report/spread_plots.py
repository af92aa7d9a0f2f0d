"""Figures of what lies behind a mean: passes over rows, scores over prompts."""

from collections.abc import Sequence
from typing import Any

from .drawing import COLOURS, for_page, name_rows, plain
from .summary import Summary
from .words import scale_of


def boxes(rows: Sequence[tuple[str, Sequence[float]]], label: str, prefix: str) -> str:
    """Quartiles, and the 10th to 90th percentile, of a count.

    Args:
        rows: Name and counts, at least one.
        label: Of the axis.
        prefix: Of the ids in the figure.
    """

    def draw(figure: Any, ink: str) -> None:
        axes = figure.subplots()
        drawn = axes.boxplot([counts for _, counts in rows], orientation="horizontal", whis=(10, 90), widths=0.5)
        for part in (line for lines in drawn.values() for line in lines):
            part.set(color=ink, markeredgecolor=ink, markersize=2.5, alpha=0.8)
        name_rows(axes, [name for name, _ in rows])
        axes.set_xlabel(label)

    return for_page(draw, _height(len(rows)), prefix)


def dots_by_prompt(summary: Summary, prefix: str) -> str:
    """One dot for every prompt's score, by method."""
    scale = scale_of(summary.board)

    def draw(figure: Any, ink: str) -> None:
        axes = figure.subplots()
        for place, row in enumerate(summary.rows, 1):
            known = [scores[row.method] * scale.factor for scores in summary.by_prompt.values() if row.method in scores]
            axes.plot(known, [place] * len(known), "o", color=COLOURS[0], alpha=0.6, markersize=5)
            axes.plot([row.mean.value * scale.factor], [place], "|", color=ink, markersize=12)
        name_rows(axes, [f"{number} {row.method}" for number, row in enumerate(summary.rows, 1)])
        axes.set_xlabel(f"{plain(summary.board.metric)}{scale.unit}: dots are prompts, lines means")

    return for_page(draw, _height(len(summary.rows)), prefix)


def _height(num_rows: int) -> float:
    return 0.8 + 0.32 * num_rows
