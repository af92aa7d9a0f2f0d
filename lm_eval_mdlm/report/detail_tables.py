"""Distributions, prompts, repeats, and what the runs were."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .boards import Study
from .summary import Summary
from .tables import Entry, Table
from .words import NONE, passes, scale_of


QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def distribution(summary: Summary, count: str, name: str) -> Table | None:
    """Quantiles of a count over rows, by method; None where no method has it.

    Args:
        summary: Of the board.
        count: A key of `Row.counts`.
        name: What a reader calls it.
    """
    known = [(row.method, np.asarray(row.counts[count])) for row in summary.rows if row.counts[count]]
    if not known:
        return None
    rows = [
        [
            Entry(method),
            Entry(str(len(values))),
            Entry(f"{values.mean():.1f}"),
            *(Entry(f"{value:g}") for value in (values.min(), *np.quantile(values, QUANTILES), values.max())),
        ]
        for method, values in known
    ]
    return Table(
        title=f"{summary.board.name}: {name}",
        columns=["method", "rows", "mean", "least", *(f"{round(100 * share)} %" for share in QUANTILES), "most"],
        rows=rows,
    )


def certainty(summary: Summary) -> Table | None:
    """Scores by quarter of the answers' entropy; None where no method has as many as four different ones."""
    known = [row for row in summary.rows if len({entropy for entropy, _ in row.certainty}) >= 4]
    if not known:
        return None
    scale = scale_of(summary.board)

    def entry(part: NDArray[np.float64]) -> Entry:
        return Entry(scale.score(float(part[:, 1].mean())), note=f"to {part[:, 0].max():.3g} nats, n = {len(part)}")

    rows = [
        [Entry(row.method), *map(entry, np.array_split(np.asarray(sorted(row.certainty, key=lambda pair: pair[0])), 4))]
        for row in known
    ]
    return Table(
        title=f"{summary.board.name}: {summary.board.metric}{scale.unit} by certainty",
        columns=["method", "most certain quarter", "second", "third", "least certain quarter"],
        rows=rows,
        remarks=["Certainty: answer_entropy, of the answer's masks in the row's last pass."],
    )


def ends(summary: Summary) -> Table | None:
    """How rows ended, by method; None where no run says so."""
    words = list(dict.fromkeys(word for row in summary.rows for word in row.stops))
    if not words:
        return None
    return Table(
        title=f"{summary.board.name}: ends of rows",
        columns=["method", *words],
        rows=[
            [Entry(row.method), *(Entry(str(row.stops[word])) for word in words)] for row in summary.rows if row.stops
        ],
    )


def by_prompt(summary: Summary) -> Table | None:
    """Scores by prompt with their spread; None with a single prompt."""
    if not summary.by_prompt:
        return None
    scale = scale_of(summary.board)
    rows = []
    for row in summary.rows:
        scores = [of_prompt.get(row.method) for of_prompt in summary.by_prompt.values()]
        known = [score for score in scores if score is not None]
        ahead, both = summary.ahead(row.method, summary.baseline)
        rows.append(
            [
                Entry(row.method),
                *(Entry(NONE if score is None else scale.score(score)) for score in scores),
                Entry(scale.score(max(known) - min(known))),
                Entry(NONE if row.method == summary.baseline else f"{ahead} of {both}"),
            ]
        )
    return Table(
        title=f"{summary.board.name}: prompts",
        columns=["method", *summary.by_prompt, "spread", "ahead of the baseline"],
        rows=rows,
    )


def agreement(summary: Summary) -> Table | None:
    """Kendall's tau between the prompts' orders of the methods; None with a single prompt or method."""
    prompts = list(summary.by_prompt)
    if not summary.agreement or len(summary.rows) < 2:
        return None

    def entry(one: str, other: str) -> Entry:
        if one == other:
            return Entry("1", mark="muted")
        key = (one, other) if (one, other) in summary.agreement else (other, one)
        tau = summary.agreement.get(key)
        return Entry(NONE if tau is None else f"{tau:.2f}".replace("-", "−"))

    return Table(
        title=f"{summary.board.name}: Kendall's tau-b between the prompts' rankings",
        columns=["prompt", *prompts],
        rows=[[Entry(one), *(entry(one, other) for other in prompts)] for one in prompts],
        remarks=["1: the same order of methods; 0: unrelated; −1: the reverse; –: one of them tells no methods apart."],
    )


def attempts(summary: Summary) -> Table | None:
    """pass@k with the passes that k attempts take; None without repeats."""
    known = [row for row in summary.rows if row.attempts]
    if not known:
        return None
    counts = sorted({k for row in known for k in row.attempts})
    scale = scale_of(summary.board)

    def entry(score: float | None, k: int, nfe: float | None) -> Entry:
        return (
            Entry(NONE)
            if score is None
            else Entry(f"{scale.score(score)} | {passes(None if nfe is None else k * nfe)}")
        )

    return Table(
        title=f"{summary.board.name}: pass@k | NFE of k attempts",
        columns=["method", *(f"k = {k}" for k in counts)],
        rows=[[Entry(row.method), *(entry(row.attempts.get(k), k, row.nfe) for k in counts)] for row in known],
        remarks=[
            "Compare entries of equal NFE, not of equal k. Attempts are runs with other seeds, and repeats in a run."
        ],
    )


def wordings(study: Study) -> Table | None:
    """What each prompt's short name stands for; None where no task has several."""
    rows = [
        [Entry(prompt), Entry(task), Entry("; ".join(f"{name}: {value}" for name, value in words.items()))]
        for task, own in study.wordings.items()
        if len(own) > 1
        for prompt, words in own.items()
    ]
    return Table(title="Prompts", columns=["prompt", "task", "wording"], rows=rows) if rows else None


def groups(study: Study) -> Table | None:
    """Scores of groups of tasks, which are lm_eval's own; None where no run has any."""
    by_run = [(run, dict(run.group_scores)) for run in study.runs]
    columns = list(dict.fromkeys(name for _, own in by_run for name in own))
    if not columns:
        return None
    rows = [
        [Entry(run.name), *(Entry(f"{own[name]:.4g}" if name in own else NONE) for name in columns)]
        for run, own in by_run
        if own
    ]
    return Table(
        title="Groups of tasks, as lm_eval reports them",
        columns=["run", *columns],
        rows=rows,
        remarks=["A group has no problems of its own, so no difference between its scores is tested; its tasks' are."],
    )


def skipped(lines: Sequence[str]) -> Table | None:
    """What could not be read."""
    rows = [[Entry(line, mark="flag")] for line in lines]
    return Table(title="Skipped", columns=["file and reason"], rows=rows) if rows else None
