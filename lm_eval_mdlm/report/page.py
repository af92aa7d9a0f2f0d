"""One HTML file: the whole comparison, with nothing to load from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import comparison_tables, detail_tables, provenance, spread_plots
from .boards import Study
from .browser import changed
from .front_plot import FrontPlot
from .methods import families_of
from .summary import Summary
from .tables import Entry, Table
from .verdict import verdict


CHANGED = 20
"""Changed answers of a board that stand in a table, for readers without scripts."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing and what it shows."""

    svg: str
    alt: str
    """For who cannot see it; the numbers stand in a table beside it."""
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """Everything on one board."""

    title: str
    anchor: str
    verdict: Sequence[str]
    figures: Sequence[Figure]
    tables: Sequence[Table]
    details: Sequence[Table] = field(default=())
    """Of less interest: folded on the page."""


def page(study: Study, summaries: Sequence[Summary], skipped: Sequence[str], browser: Mapping[str, Any]) -> str:
    """The HTML.

    Args:
        study: All runs.
        summaries: One for each board.
        skipped: A line for each file that could not be read.
        browser: What the sample browser shows, from `browser_data`.
    """
    anchors = {method.name: f"method-{number}" for number, method in enumerate(study.methods, 1)}
    families = families_of(study.methods)
    sections = [_section(one, families, anchors, number) for number, one in enumerate(summaries, 1)]
    folder = Path(__file__).parent / "templates"
    templates = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return templates.get_template("page.html").render(
        sections=sections,
        overview=comparison_tables.overview(summaries, anchors),
        filters=comparison_tables.filters(summaries),
        groups=detail_tables.groups(study),
        wordings=detail_tables.wordings(study),
        skipped=detail_tables.skipped(skipped),
        runs=provenance.runs_table(study.runs),
        options=provenance.options_table(study.runs),
        commands=[
            (method.name, anchors[method.name], [(run.name, provenance.command_of(run)) for run in method.runs])
            for method in study.methods
        ],
        browser=browser,
        num_methods=len(study.methods),
        num_runs=len(study.runs),
    )


def tables_of(study: Study, summaries: Sequence[Summary]) -> list[Table]:
    """All tables of figures, for Markdown and LaTeX."""
    found: list[Table | None] = [comparison_tables.overview(summaries, {}), comparison_tables.filters(summaries)]
    for summary in summaries:
        found += [comparison_tables.against_baseline(summary), *_tables(summary), *_details(summary)]
    return [
        table for table in [*found, detail_tables.groups(study), detail_tables.wordings(study)] if table is not None
    ]


def _section(summary: Summary, families: dict[str, str], anchors: dict[str, str], number: int) -> Section:
    tables = [comparison_tables.against_baseline(summary), *_tables(summary)]
    details = [*_details(summary), _changed(summary)]
    return Section(
        title=f"{summary.board.name}: {summary.board.metric}",
        anchor=f"board-{number}",
        verdict=verdict(summary),
        figures=_figures(summary, families, anchors, f"f{number}"),
        tables=[table for table in tables if table is not None],
        details=[table for table in details if table is not None],
    )


def _tables(summary: Summary) -> list[Table | None]:
    return [
        detail_tables.by_prompt(summary),
        detail_tables.agreement(summary),
        detail_tables.attempts(summary),
        comparison_tables.outcome_classes(summary),
        detail_tables.ends(summary),
        detail_tables.certainty(summary),
        comparison_tables.flips(summary),
    ]


def _details(summary: Summary) -> list[Table | None]:
    return [
        detail_tables.distribution(summary, "nfe", "NFE over rows"),
        detail_tables.distribution(summary, "exit_step", "step of the exit, over rows that exited early"),
    ]


def _figures(summary: Summary, families: dict[str, str], anchors: dict[str, str], prefix: str) -> list[Figure]:
    found = []
    plot = FrontPlot(summary, families)
    if plot.can_be_drawn:
        drawn = plot.for_page(anchors, f"{prefix}-front")
        found.append(Figure(svg=drawn, alt=f"{summary.board.metric} against passes", caption=_front_caption(plot)))
    if summary.by_prompt:
        dots = spread_plots.dots_by_prompt(summary, f"{prefix}-prompts")
        found.append(Figure(svg=dots, alt="scores by prompt", caption="Spread over prompts."))
    for count, label in (("nfe", "NFE of a row"), ("exit_step", "step of the exit, rows that exited")):
        rows = [(f"{n} {row.method}", row.counts[count]) for n, row in enumerate(summary.rows, 1) if row.counts[count]]
        if rows:
            caption = f"{label}: quartiles, 10th and 90th percentile, and what lies outside."
            found.append(Figure(svg=spread_plots.boxes(rows, label, f"{prefix}-{count}"), alt=label, caption=caption))
    return found


def _front_caption(plot: FrontPlot) -> str:
    rest = "; of so many, points of the front alone have theirs and an interval" if plot.is_crowded else ""
    return (
        f"Numbers are the methods' in the table{rest}. Dotted: the baseline, {plot.summary.baseline}. Vertical lines "
        "and bands: its score plus the paired 95 % interval of the difference; one that crosses the dotted line is not "
        "told apart from it. Dashed: Pareto front. Hollow: fewer than 100 problems."
    )


def _changed(summary: Summary) -> Table | None:
    if summary.best == summary.baseline:
        return None
    rows = [
        [Entry(better), Entry(ours.target), Entry(" ".join(ours.readings)), Entry(" ".join(theirs.readings))]
        for better, ours, theirs in changed(summary.board, summary.best, summary.baseline, CHANGED)
    ]
    if not rows:
        return None
    return Table(
        title=f"{summary.board.name}: changed answers, the first {len(rows)}",
        columns=["better", "target", f"read from {summary.best}", f"read from {summary.baseline}"],
        rows=rows,
    )
