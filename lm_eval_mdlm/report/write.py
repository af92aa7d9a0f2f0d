"""From folders to files: the page, the tables in other forms, and how the comparison came out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError
from ..showing.visible import visible
from .boards import Study, study_of
from .browser import browser_data
from .folders import read_folders
from .front_plot import FrontPlot
from .methods import families_of
from .page import page, tables_of
from .records import records, to_csv
from .replays import Replays
from .summary import Summary, default_baseline, summarise
from .tables import latex, markdown, markdown_list
from .verdict import verdict


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What to compare, and what to write."""

    folders: Sequence[Path]
    """That `--output_path` of lm_eval wrote, or results files; at least one."""
    output: Path
    """The page."""
    baseline: str | None = None
    """Name of a run or of a method; unset: on each board the method with the most forward passes."""
    markdown: Path | None = None
    latex: Path | None = None
    csv: Path | None = None
    plots: Path | None = None
    """Folder for the plots of accuracy against passes, as SVG and PNG."""
    max_mb: float = 4.0
    """Megabytes of texts in the sample browser, above 0."""
    replays: int = 300
    """Most rows of a task by a filter whose recorded decoding can be replayed, 0 or more."""

    def __post_init__(self) -> None:
        if self.max_mb <= 0:
            raise UsageError(f"max_mb must be above 0, got {self.max_mb}; 4 is a few thousand short texts.")
        if self.replays < 0:
            raise UsageError(f"replays must be 0 or more, got {self.replays}; 0 leaves recorded decodings out.")


@dataclass(frozen=True, kw_only=True)
class Report:
    """How it came out."""

    text: str
    """The verdict and what was written."""
    skipped: tuple[str, ...] = field(default=())
    """A line for each file that could not be read."""
    worse: tuple[str, ...] = field(default=())
    """A line for each method and board that is significantly worse than a baseline that was named."""


def write_report(options: ReportOptions) -> Report:
    """Read, compare, write.

    Raises:
        UsageError: If nothing can be read, the baseline is not among the runs, or matplotlib is missing.
    """
    found = read_folders(options.folders)
    study = study_of(found.runs)
    summaries = _summaries(study, options.baseline)
    said = [(summary, verdict(summary)) for summary in summaries]
    replays = Replays(options.replays)
    shown_first = [(one.board, one.best, one.baseline) for one in summaries]
    browser = browser_data(shown_first, round(options.max_mb * 1e6), replays)
    skipped = (*found.skipped, *replays.skipped)
    written = {options.output: page(study, summaries, skipped, browser)}
    if options.markdown:
        parts = [markdown_list(one.board.name, lines) for one, lines in said]
        written[options.markdown] = "\n".join([*parts, *map(markdown, tables_of(study, summaries))])
    if options.latex:
        written[options.latex] = "\n".join(map(latex, tables_of(study, summaries)))
    if options.csv:
        written[options.csv] = to_csv(records(study, summaries))
    for path, text in written.items():
        _write(path, text)
    drawn = _plots(study, summaries, options.plots) if options.plots else []
    lines = [f"{one.board.name}: {' '.join(sentences)}" for one, sentences in said]
    return Report(
        text=visible("\n".join([*lines, f"Written: {', '.join(map(str, [*written, *drawn]))}."])),
        skipped=tuple(map(visible, skipped)),
        worse=tuple(map(visible, _worse(summaries))) if options.baseline else (),
    )


def _summaries(study: Study, baseline: str | None) -> list[Summary]:
    named = None if baseline is None else study.method_of(baseline)
    if baseline is not None and named is None:
        known = ", ".join(dict.fromkeys([method.name for method in study.methods] + [run.name for run in study.runs]))
        raise UsageError(f"--baseline {baseline} is none of the runs; they are: {known}.")
    return [
        summarise(board, named.name if named and named.name in board.methods else default_baseline(board))
        for board in study.boards
    ]


def _worse(summaries: Sequence[Summary]) -> list[str]:
    return [
        f"{row.method} is significantly worse than {summary.baseline} on {summary.board.name}."
        for summary in summaries
        for row in summary.rows
        if row.is_worse
    ]


def _plots(study: Study, summaries: Sequence[Summary], folder: Path) -> list[Path]:
    families = families_of(study.methods)
    plots = [(one.board, FrontPlot(one, families)) for one in summaries]
    found = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for board, plot in plots:
            if plot.can_be_drawn:
                found += plot.into_files(folder / re.sub(r"[^\w.-]+", "_", f"{board.task}_{board.filter}"))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}).") from error
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(visible(text), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}).") from error
