"""All figures as tidy records: a row for each method, task and filter."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from ..showing.private import public
from ..showing.visible import spreadsheet_cell
from .boards import Study
from .outcome_classes import OutcomeClass
from .summary import Row, Summary


def records(study: Study, summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Plain values by column; scores as they are, not in %."""
    return [_record(study, summary, row) for summary in summaries for row in summary.rows]


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """With a heading; what is not known is empty, and no text is one that a spreadsheet would run."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: spreadsheet_cell(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _record(study: Study, summary: Summary, row: Row) -> dict[str, Any]:
    board, found, interval = summary.board, row.to_baseline, row.mean.interval
    method = study.method_of(row.method)
    assert method is not None
    apart = found.interval if found else None
    return {
        "method": row.method,
        "task": board.task,
        "filter": board.filter,
        "metric": board.metric,
        "score": row.mean.value,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "over": row.mean.over,
        "problems": row.mean.num_problems,
        "nfe": row.nfe,
        "nfe_stderr": row.nfe_error,
        "baseline": summary.baseline,
        "difference": found and found.value,
        "difference_low": apart and apart.low,
        "difference_high": apart and apart.high,
        "p": found and found.p,
        "test": found and found.test,
        "p_holm": row.p_adjusted,
        "better": found and found.better,
        "worse": found and found.worse,
        "left_out": found and found.left_out,
        "on_front": row.on_front,
        "knee": row.is_knee,
        **{kind.value.replace(" ", "_"): row.classes[kind] if row.classes else None for kind in OutcomeClass},
        "options": json.dumps(public(method.options), ensure_ascii=False, default=str),
        "runs": ";".join(cell.run.name for cell in board.of(row.method)),
    }
