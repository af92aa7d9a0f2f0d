"""Accuracy against forward passes, with paired intervals and the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .drawing import COLOURS, MARKERS, for_page, into_files, plain
from .summary import Row, Summary
from .words import Scale, passes, scale_of


HEIGHT = 3.6
"""Inches."""
FEW = 100
"""Points of fewer problems are hollow."""
CROWDED = 24
"""Of more points only those on the front have numbers and intervals, so that they can be told apart."""


@dataclass(frozen=True)
class FrontPlot:
    """Score by forward passes on a logarithmic axis; around each point the paired interval of its difference.

    The interval stands where a difference of 0 is the baseline's score, so that one that crosses the baseline's line is
    not told apart from it.
    """

    summary: Summary
    families: Mapping[str, str]
    """Name of the line that each method is a point of."""

    @property
    def can_be_drawn(self) -> bool:
        """Whether any method counts passes."""
        return bool(self._placed)

    def for_page(self, anchors: Mapping[str, str], prefix: str) -> str:
        """An SVG element whose points lead to the places of their methods.

        Args:
            anchors: Those places.
            prefix: Of the ids.
        """
        scale = scale_of(self.summary.board)
        titles = {f"point-{number}": _hover(row, scale) for number, row in self._placed}
        return for_page(lambda figure, ink: self._draw(figure, ink, anchors), HEIGHT, prefix, titles)

    def into_files(self, stem: Path) -> list[Path]:
        """As SVG and PNG."""
        return into_files(lambda figure, ink: self._draw(figure, ink, {}), HEIGHT, stem)

    @property
    def _placed(self) -> list[tuple[int, Row]]:
        return [(number, row) for number, row in enumerate(self.summary.rows, 1) if (row.nfe or 0.0) > 0]

    def _draw(self, figure: Any, ink: str, anchors: Mapping[str, str]) -> None:
        scale, placed = scale_of(self.summary.board), self._placed
        axes = figure.subplots()
        base = self.summary.row(self.summary.baseline).mean.value * scale.factor
        axes.axhline(base, linestyle=":", linewidth=1, color=ink)
        for place, (family, members) in enumerate(self._grouped().items()):
            self._draw_family(axes, family, members, place)
        for number, row in placed:
            link = f"#{anchors[row.method]}" if anchors else None
            spot = ([row.nfe], [row.mean.value * scale.factor])
            (dot,) = axes.plot(*spot, "o", markersize=14, alpha=0, url=link)
            dot.set_gid(f"point-{number}")
        _number_points(axes, [(number, row) for number, row in placed if self._is_shown_in_full(row)], scale)
        _draw_front(axes, [row for _, row in placed if row.on_front], scale, ink)
        for number, row in enumerate(self.summary.rows, 1):
            if row.nfe is None:
                label = plain(f"{number}  {row.method}", 34) + " (passes not counted)"
                style = {"linestyle": "-.", "linewidth": 1, "color": ink, "alpha": 0.6}
                axes.axhline(row.mean.value * scale.factor, label=label, **style)
        axes.set(xlabel="forward passes per row (NFE)", ylabel=f"{plain(self.summary.board.metric)}{scale.unit}")
        _make_logarithmic(axes)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), frameon=False, fontsize=9)

    @property
    def is_crowded(self) -> bool:
        """Whether there are more points than can each have a number and an interval."""
        return len(self._placed) > CROWDED

    def _is_shown_in_full(self, row: Row) -> bool:
        return row.on_front or not self.is_crowded

    def _grouped(self) -> dict[str, list[tuple[int, Row]]]:
        found: dict[str, list[tuple[int, Row]]] = {}
        for number, row in self._placed:
            found.setdefault(self.families[row.method], []).append((number, row))
        return found

    def _draw_family(self, axes: Any, family: str, members: Sequence[tuple[int, Row]], place: int) -> None:
        scale = scale_of(self.summary.board)
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]
        rows = sorted((row for _, row in members), key=lambda row: row.nfe or 0.0)
        x, y = [row.nfe for row in rows], [row.mean.value * scale.factor for row in rows]
        face = "none" if any(row.mean.num_problems < FEW for row in rows) else colour
        label = plain(f"{', '.join(str(number) for number, _ in members)}  {family}", 46)
        size = 4 if self.is_crowded else 6
        axes.plot(x, y, marker=marker, markersize=size, color=colour, linewidth=1.2, markerfacecolor=face, label=label)
        full = [row for row in rows if self._is_shown_in_full(row)]
        bands = [(row.nfe, *ends) for row in full if (ends := self.band(row)) is not None]
        if len(bands) > 1 and not self.is_crowded:
            axes.fill_between(*zip(*bands, strict=True), color=colour, alpha=0.12, linewidth=0)
        for nfe, low, high in bands:
            axes.plot([nfe, nfe], [low, high], color=colour, linewidth=0.9, alpha=0.7)

    def band(self, row: Row) -> tuple[float, float] | None:
        """Where the row's paired interval lies on the axis of scores; None without one."""
        interval = row.to_baseline and row.to_baseline.interval
        if not interval:
            return None
        base = self.summary.row(self.summary.baseline).mean.value
        sign = 1 if self.summary.board.higher_is_better else -1
        factor = scale_of(self.summary.board).factor
        low, high = sorted((base + sign * interval.low, base + sign * interval.high))
        return low * factor, high * factor


def _number_points(axes: Any, placed: Sequence[tuple[int, Row]], scale: Scale) -> None:
    """The methods' numbers beside their points; points that lie on each other share a place."""
    found: dict[tuple[int, int], list[tuple[int, Row]]] = {}
    for number, row in placed:
        spot = (round(20 * math.log10(row.nfe or 1.0)), round(60 * row.mean.value))
        found.setdefault(spot, []).append((number, row))
    for members in found.values():
        text, first = ", ".join(str(number) for number, _ in members), members[0][1]
        axes.annotate(text, (first.nfe, first.mean.value * scale.factor), (5, 5), textcoords="offset points")


def _draw_front(axes: Any, rows: Sequence[Row], scale: Scale, ink: str) -> None:
    ordered = sorted(rows, key=lambda row: row.nfe or 0.0)
    if len(ordered) > 1:
        x, y = [row.nfe for row in ordered], [row.mean.value * scale.factor for row in ordered]
        axes.step(x, y, where="post", linestyle="--", linewidth=1, color=ink, alpha=0.6, label="Pareto front")


def _hover(row: Row, scale: Scale) -> str:
    apart = row.to_baseline
    told = "" if apart is None else f"; to the baseline {scale.difference(apart.value)}{scale.unit_of_difference}"
    return f"{row.method}: {scale.score(row.mean.value)}{scale.unit} at {passes(row.nfe)} passes{told}"


def _make_logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    # 1, 2 and 5 alone would leave less than a factor of 4 with a tick or none.
    ticks = LogLocator(subs=(1, 2, 5), numticks=20) if high > 4 * low else MaxNLocator(5)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.12)
