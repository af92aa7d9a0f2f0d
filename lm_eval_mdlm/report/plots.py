"""The figures of a page as SVG that takes the colour of the text around it. Needs matplotlib."""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import UsageError
from .summary import Row, Summary
from .words import Scale, passes, scale_of


INK = "#123456"
"""Stands for the colour of the text, which differs between light and dark pages."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH = 4.8
"""Inches at 72 points: about the width of a telephone, so that letters there have their full size."""
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lm-eval-mdlm",
    "font.size": 10,
    "font.family": "sans-serif",
    **{f"{name}.color": INK for name in ("text", "xtick", "ytick")},
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def accuracy_against_passes(
    summary: Summary, families: Mapping[str, str], anchors: Mapping[str, str], prefix: str
) -> str | None:
    """Score by forward passes on a logarithmic axis, with paired intervals around the baseline's score.

    Args:
        summary: Of the board.
        families: Name of the line that each method is a point of.
        anchors: Place on the page that each point leads to.
        prefix: Of the ids in the figure, unlike that of any other figure of the page.

    Returns:
        None where no method counts passes.
    """
    placed = [(number, row) for number, row in enumerate(summary.rows, 1) if row.nfe]
    if not placed:
        return None
    scale = scale_of(summary.board)
    with _figure(3.6) as (figure, save):
        axes = figure.subplots()
        base = summary.row(summary.baseline).mean.value
        axes.axhline(base * scale.factor, linestyle=":", linewidth=1, color=INK)
        for place, (family, members) in enumerate(_grouped(placed, families).items()):
            _draw_family(axes, family, members, place, summary, scale)
        for number, row in placed:
            x, y, link = row.nfe, row.mean.value * scale.factor, f"#{anchors[row.method]}"
            (dot,) = axes.plot([x], [y], "o", markersize=14, alpha=0, url=link)
            dot.set_gid(f"point-{number}")
        _number_points(axes, placed, scale)
        _draw_front(axes, [row for _, row in placed if row.on_front], scale)
        _draw_others(axes, [(n, row) for n, row in enumerate(summary.rows, 1) if not row.nfe], scale)
        axes.set(xlabel="forward passes per row (NFE)", ylabel=f"{_plain(summary.board.metric)}{scale.unit}")
        _logarithmic(axes)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), frameon=False, fontsize=9)
        return _titled(save(prefix), {f"{prefix}-point-{number}": _hover(row, scale) for number, row in placed})


def _draw_family(
    axes: Any, family: str, members: Sequence[tuple[int, Row]], place: int, summary: Summary, scale: Scale
) -> None:
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    rows = sorted((row for _, row in members), key=lambda row: row.nfe or 0.0)
    x, y = [row.nfe for row in rows], [row.mean.value * scale.factor for row in rows]
    hollow = any(row.mean.num_problems < 100 for row in rows)
    numbers = ", ".join(str(number) for number, _ in members)
    face = "none" if hollow else colour
    axes.plot(
        x, y, marker=marker, color=colour, linewidth=1.2, markerfacecolor=face, label=f"{numbers}  {_plain(family)}"
    )
    bands = [(row.nfe, *_band(row, summary, scale)) for row in rows if row.to_baseline and row.to_baseline.interval]
    if len(bands) > 1:
        axes.fill_between(*zip(*bands, strict=True), color=colour, alpha=0.12, linewidth=0)
    for nfe, low, high in bands:
        axes.plot([nfe, nfe], [low, high], color=colour, linewidth=0.9, alpha=0.7)


def _number_points(axes: Any, placed: Sequence[tuple[int, Row]], scale: Scale) -> None:
    """The methods' numbers beside their points; points that lie on each other share a place."""
    found: dict[tuple[int, int], list[tuple[int, Row]]] = {}
    for number, row in placed:
        spot = (round(20 * math.log10(row.nfe or 1.0)), round(60 * row.mean.value))
        found.setdefault(spot, []).append((number, row))
    for members in found.values():
        text, first = ", ".join(str(number) for number, _ in members), members[0][1]
        axes.annotate(text, (first.nfe, first.mean.value * scale.factor), (5, 5), textcoords="offset points")


def _band(row: Row, summary: Summary, scale: Scale) -> tuple[float, float]:
    """The paired interval, put where the difference is 0 on the baseline's score."""
    base, found = summary.row(summary.baseline).mean.value, row.to_baseline
    assert found is not None and found.interval is not None
    low, high = found.interval.low, found.interval.high
    if not summary.board.higher_is_better:
        low, high = -high, -low
    return (base + low) * scale.factor, (base + high) * scale.factor


def _draw_front(axes: Any, rows: Sequence[Row], scale: Scale) -> None:
    ordered = sorted(rows, key=lambda row: row.nfe or 0.0)
    if len(ordered) > 1:
        x, y = [row.nfe for row in ordered], [row.mean.value * scale.factor for row in ordered]
        axes.step(x, y, where="post", linestyle="--", linewidth=1, color=INK, alpha=0.6, label="Pareto front")


def _draw_others(axes: Any, others: Sequence[tuple[int, Row]], scale: Scale) -> None:
    for number, row in others:
        label = _plain(f"{number}  {_short(row.method, 24)} (passes not counted)")
        axes.axhline(row.mean.value * scale.factor, linestyle="-.", linewidth=1, color=INK, alpha=0.6, label=label)


def _grouped(placed: Sequence[tuple[int, Row]], families: Mapping[str, str]) -> dict[str, list[tuple[int, Row]]]:
    found: dict[str, list[tuple[int, Row]]] = {}
    for number, row in placed:
        found.setdefault(families[row.method], []).append((number, row))
    return found


def _hover(row: Row, scale: Scale) -> str:
    apart = row.to_baseline
    told = "" if apart is None else f"; to the baseline {scale.difference(apart.value)}{scale.unit_of_difference}"
    return f"{row.method}: {scale.score(row.mean.value)}{scale.unit} at {passes(row.nfe)} passes{told}"


def boxes(rows: Sequence[tuple[str, Sequence[float]]], label: str, prefix: str) -> str:
    """Quartiles, and the 10th to 90th percentile, of a count by method.

    Args:
        rows: Name and counts, at least one.
        label: Of the axis.
        prefix: Of the ids in the figure.
    """
    with _figure(0.8 + 0.32 * len(rows)) as (figure, save):
        axes = figure.subplots()
        drawn = axes.boxplot([counts for _, counts in rows], orientation="horizontal", whis=(10, 90), widths=0.5)
        for part in (line for lines in drawn.values() for line in lines):
            part.set(color=INK, markeredgecolor=INK, markersize=2.5, alpha=0.8)
        axes.set_yticks(range(1, len(rows) + 1), _ticks([name for name, _ in rows]))
        axes.invert_yaxis()
        axes.set_xlabel(label)
        return save(prefix)


def dots_by_prompt(summary: Summary, prefix: str) -> str:
    """One dot for every prompt's score, by method."""
    scale = scale_of(summary.board)
    with _figure(0.8 + 0.32 * len(summary.rows)) as (figure, save):
        axes = figure.subplots()
        for place, row in enumerate(summary.rows, 1):
            known = [scores[row.method] * scale.factor for scores in summary.by_prompt.values() if row.method in scores]
            axes.plot(known, [place] * len(known), "o", color=COLOURS[0], alpha=0.6, markersize=5)
            axes.plot([row.mean.value * scale.factor], [place], "|", color=INK, markersize=12)
        axes.set_yticks(range(1, len(summary.rows) + 1), _ticks(_numbered(summary)))
        axes.invert_yaxis()
        axes.set_xlabel(f"{_plain(summary.board.metric)}{scale.unit}: a dot for each prompt, a line for the mean")
        return save(prefix)


@contextmanager
def _figure(height: float) -> Iterator[tuple[Any, Callable[[str], str]]]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "report draws with matplotlib, which is missing; pip install 'lm-eval-mdlm[report]'."
        ) from error
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH, height))

        def save(prefix: str) -> str:
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
            return _inlined(buffer.getvalue(), prefix)

        yield figure, save


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.12)


def _numbered(summary: Summary) -> list[str]:
    return [f"{number} {row.method}" for number, row in enumerate(summary.rows, 1)]


def _ticks(names: Sequence[str]) -> list[str]:
    """Names short enough to leave room for what they name."""
    return [_plain(_short(name, 18)) for name in names]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plain(text: str) -> str:
    """Matplotlib would read formulas between dollar signs."""
    return text.replace("$", r"\$")


def _inlined(svg: str, prefix: str) -> str:
    """Without what only a file needs; with ids of its own, and the page's colour in place of `INK`."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<svg ([^>]*?)(height|width)="[^"]*" ', r"<svg \1", body, count=1)
    body = re.sub(r'<svg ([^>]*?)(height|width)="[^"]*" ', r"<svg \1", body, count=1)
    own = set(re.findall(r'\bid="([^"]+)"', body))
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r'(url\(#|href="#)([^")]+)', lambda m: f"{m[1]}{prefix}-{m[2]}" if m[2] in own else m[0], body)
    return body.replace(INK, "currentColor").strip()


def _titled(svg: str, titles: Mapping[str, str]) -> str:
    """With a title that shows when a pointer rests on the element of an id."""
    from html import escape

    for name, title in titles.items():
        svg = svg.replace(f'<g id="{name}">', f'<g id="{name}"><title>{escape(title)}</title>', 1)
    return svg
