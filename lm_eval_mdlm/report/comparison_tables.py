"""What a board's methods score, cost, and differ by."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from .boards import Board
from .outcome_classes import MEANING, OutcomeClass
from .summary import Row, Summary
from .tables import Entry, Table
from .words import NONE, Scale, equal_to, passes, probability, scale_of


GAP = 0.05
"""Filters that differ by more than this many of a share are flagged: that is the answer's form, not its value."""


def overview(summaries: Sequence[Summary], anchors: dict[str, str]) -> Table:
    """Methods by boards, each as score | NFE.

    Args:
        summaries: All boards.
        anchors: Places on the page by method.
    """
    methods = list(dict.fromkeys(row.method for one in summaries for row in one.rows))
    by_board = [({row.method: row for row in one.rows}, scale_of(one.board)) for one in summaries]
    rows = [
        [
            Entry(method, link=anchors.get(method, "")),
            *(_overview_entry(rows[method], scale) if method in rows else Entry(NONE) for rows, scale in by_board),
        ]
        for method in methods
    ]
    return Table(
        title="Score | NFE",
        columns=["method", *(f"{one.board.name}, {one.board.metric}" for one in summaries)],
        rows=rows,
        remarks=[
            "Mean score in % where it is a share, then forward passes per row. Marked: significantly better or worse "
            "than the board's baseline (p < 0.05 after Holm's adjustment). n: problems."
        ],
    )


def _overview_entry(row: Row, scale: Scale) -> Entry:
    word = "better" if row.is_better else "worse" if row.is_worse else ""
    note = f"n = {row.mean.num_problems}" if row.mean.num_problems else "no samples"
    text = f"{scale.score(row.mean.value)} | {passes(row.nfe)}"
    return Entry(text, note=f"{note}, {word}" if word else note, mark=word)


def against_baseline(summary: Summary) -> Table:
    """Every method's score with its interval, and its paired difference from the baseline."""
    scale = scale_of(summary.board)
    columns = [
        "method",
        f"score{scale.unit}",
        "95 % interval",
        "NFE",
        f"difference{scale.unit_of_difference}",
        "95 % interval, paired",
        "p",
        "p, Holm",
        "only it right / only baseline",
        "problems",
    ]
    return Table(
        title=f"{summary.board.name}: {summary.board.metric} against {summary.baseline}",
        columns=columns,
        rows=[_against_baseline(row, summary, scale) for row in summary.rows],
        remarks=_remarks(summary),
    )


def _against_baseline(row: Row, summary: Summary, scale: Scale) -> list[Entry]:
    found = row.to_baseline
    marks = [word for word, holds in (("front", row.on_front), ("knee", row.is_knee)) if holds]
    shared = [Entry(row.method, note=", ".join(["baseline"] * (row.method == summary.baseline) + marks))]
    shared += [Entry(scale.score(row.mean.value)), Entry(scale.interval(row.mean.interval), note=row.mean.over)]
    shared += [Entry(passes(row.nfe, row.nfe_error))]
    if found is None:
        what = "" if row.method == summary.baseline else "nothing in common with the baseline"
        return [*shared, Entry(NONE, note=what), *[Entry(NONE)] * 4, _problems(row)]
    mark = "better" if row.is_better else "worse" if row.is_worse else ""
    return [
        *shared,
        Entry(scale.difference(found.value), mark=mark, note=mark),
        Entry(scale.interval_of_difference(found.interval), note=found.over),
        Entry(probability(found.p), note=found.test),
        Entry(probability(row.p_adjusted)),
        Entry(f"{found.better} / {found.worse}"),
        _problems(row),
    ]


def _problems(row: Row) -> Entry:
    found = row.to_baseline
    told = [f"{found.left_out} not in both"] if found and found.left_out else []
    told += [f"{found.other_prompts} in other words"] if found and found.other_prompts else []
    told += [f"{row.mean.left_out} not in all its runs"] if row.mean.left_out else []
    told += [f"{row.truncated} prompts cut"] if row.truncated else []
    number = found.num_problems if found else row.mean.num_problems
    return Entry(str(number), note=", ".join(told), mark="flag" if told else "")


def _remarks(summary: Summary) -> list[str]:
    compared = sum(row.to_baseline is not None for row in summary.rows)
    return [
        "Intervals: of a score Wilson's, of a difference between right and wrong answers Tango's score interval; of "
        "means over prompts or seeds Student's t, where several prompts are a random axis beside the problems.",
        f"Holm's p is over the {compared} methods compared here. front: no other method is as good with fewer passes, "
        "or better with as many. knee: the fewest passes whose score is not significantly (p < 0.05, not adjusted) "
        "below the best; that is no proof that it is equal.",
    ]


def flips(summary: Summary) -> Table | None:
    """For every pair of methods the answers that changed each way; None for a single method."""
    methods = [row.method for row in summary.rows]
    if len(methods) < 2:
        return None

    def entry(ours: str, theirs: str) -> Entry:
        found = summary.between.get((ours, theirs))
        if found is not None:
            return Entry(f"{found.better} / {found.worse}", note=f"p {equal_to(found.p)}")
        back = summary.between.get((theirs, ours))
        return Entry(NONE) if back is None else Entry(f"{back.worse} / {back.better}", note=f"p {equal_to(back.p)}")

    numbered = [f"{number} {method}" for number, method in enumerate(methods, 1)]
    rows = [
        [Entry(name), *(entry(ours, theirs) for theirs in methods)]
        for name, ours in zip(numbered, methods, strict=True)
    ]
    return Table(
        title=f"{summary.board.name}: flips",
        columns=["only the row's / only the column's", *map(str, range(1, len(methods) + 1))],
        rows=rows,
        remarks=["How many answers changed each way between two methods, behind scores that may be equal."],
    )


def filters(summaries: Sequence[Summary]) -> Table | None:
    """Scores by all ways to read an answer, filters and metrics, side by side; None where no task has several."""
    by_task: dict[str, list[Board]] = {}
    for summary in summaries:
        by_task.setdefault(summary.board.task, []).append(summary.board)
    rows = [
        _filter_row(task, method, scores)
        for task, boards in by_task.items()
        for method in dict.fromkeys(method for board in boards for method in board.methods)
        if len(scores := _by_reading(boards, method)) > 1
    ]
    if not rows:
        return None
    return Table(
        title="Strict against flexible filters",
        columns=["method", "task", "score by reading", "largest gap, points"],
        rows=rows,
        remarks=[
            "Gap: between filters by the same metric, and between metrics named strict and flexible. "
            "Above 5 points it is flagged: so much of the score is the answer's form, not its value."
        ],
    )


def _by_reading(boards: Sequence[Board], method: str) -> dict[tuple[str, str], float]:
    """Mean share over runs, by metric and filter."""
    found: dict[tuple[str, str], list[float]] = {}
    for board in boards:
        for cell in board.of(method):
            for metric, value in cell.outcomes.metrics.items():
                if 0 <= value <= 1:
                    found.setdefault((metric, board.filter), []).append(value)
    return {reading: sum(values) / len(values) for reading, values in found.items()}


def _filter_row(task: str, method: str, scores: Mapping[tuple[str, str], float]) -> list[Entry]:
    scale = Scale(is_share=True)
    names = {reading: reading[0] if reading[1] == "none" else ", ".join(reading) for reading in scores}
    texts = [f"{names[reading]} {scale.score(value)}" for reading, value in scores.items()]
    gaps = [
        abs(scores[one] - scores[other]) for one, other in combinations(scores, 2) if _same_but_for_form(one, other)
    ]
    gap = max(gaps, default=None)
    is_wide = gap is not None and gap > GAP + 1e-9
    note, mark = ("flagged: form of the answer", "flag") if is_wide else ("", "")
    text = NONE if gap is None else scale.difference(gap).lstrip("+")
    return [Entry(method), Entry(task), Entry("; ".join(texts)), Entry(text, note=note, mark=mark)]


def _same_but_for_form(one: tuple[str, str], other: tuple[str, str]) -> bool:
    names = (one[0], other[0])
    return one[0] == other[0] or all(any(word in name for name in names) for word in ("strict", "flexible"))


def outcome_classes(summary: Summary) -> Table | None:
    """How many rows of each class every method has; None where answers are not right or wrong."""
    known = [(row, row.classes) for row in summary.rows if row.classes]
    if not known:
        return None
    rows = [
        [Entry(row.method), *(_share(classes[kind], classes.total()) for kind in OutcomeClass)]
        for row, classes in known
    ]
    return Table(
        title=f"{summary.board.name}: outcomes",
        columns=["method", *(kind.value for kind in OutcomeClass)],
        rows=rows,
        remarks=["; ".join(f"{kind.value}: {meaning}" for kind, meaning in MEANING.items()) + "."],
    )


def _share(number: int, total: int) -> Entry:
    return Entry(str(number), note=f"{100 * number / total:.1f} %", mark="" if number else "muted")
