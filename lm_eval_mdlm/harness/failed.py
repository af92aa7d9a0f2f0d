"""Which documents an evaluation got wrong, from the samples files that `--log_samples` wrote."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.utils import handle_non_serializable, hash_string

from ..errors import UsageError


_NAME = re.compile(r"samples_(?P<task>.+)_\d{4}-\d\d-\d\dT[\d.:-]+\.jsonl")
"""How the harness names such a file."""


def failed_documents(paths: Sequence[Path], metric: str, task_name: str, docs: Sequence[Any]) -> list[int]:
    """Documents that stand in the files and whose metric is 0 in every line that they have there, ascending.

    Args:
        paths: Of one task and one split; of several runs, or of parts of one.
        metric: A key of the lines.
        task_name: Whose samples the files must be.
        docs: Of the split, by number.

    Raises:
        UsageError: If a file is missing or malformed, has no such metric, or is of another task or split.
    """
    best: dict[int, float] = {}
    for path in paths:
        _check_name(path, task_name)
        for place, sample in _samples(path):
            doc_id, value = _outcome(place, sample, metric)
            if not 0 <= doc_id < len(docs) or sample.get("doc_hash", own := _hash_of(docs[doc_id])) != own:
                raise UsageError(
                    f"--only_failed {place}: its document {doc_id} is not that of {task_name} in this split; give "
                    f"samples of the task, data and split that --tasks, --metadata and --split name."
                )
            best[doc_id] = max(value, best.get(doc_id, value))
    return sorted(doc_id for doc_id, value in best.items() if value == 0)


def _check_name(path: Path, task_name: str) -> None:
    if not path.is_file():
        raise UsageError(f"--only_failed {path} does not exist; give a samples file of lm_eval --log_samples.")
    found = _NAME.fullmatch(path.name)
    if found and found["task"] != task_name:
        raise UsageError(
            f"--only_failed {path} holds samples of {found['task']}, and --tasks is {task_name}; give that task's."
        )


def _samples(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every line with its place; blank lines are skipped."""
    empty = True
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                sample = json.loads(line)
            except (ValueError, RecursionError):
                sample = None
            if not isinstance(sample, dict):
                raise UsageError(f"--only_failed {path} line {number} is no JSON object; give a samples file as it is.")
            empty = False
            yield f"{path} line {number}", sample
    if empty:
        raise UsageError(f"--only_failed {path} holds no samples; give another file.")


def _outcome(place: str, sample: Mapping[str, Any], metric: str) -> tuple[int, float]:
    doc_id, value = sample.get("doc_id"), sample.get(metric)
    if not isinstance(doc_id, int):
        raise UsageError(f"--only_failed {place} has no doc_id; give a samples file of lm_eval --log_samples.")
    # Whole numbers of JSON may be beyond every float.
    if not isinstance(value, (int, float)) or (isinstance(value, int) and abs(value) > sys.float_info.max):
        known = sample.get("metrics")
        names = [str(name) for name in known] if isinstance(known, list) else []
        raise UsageError(
            f"--only_failed {place} has no number as --metric {metric}; its metrics are "
            f"{' '.join(', '.join(names).split()) or 'none'}."
        )
    return doc_id, float(value)


def _hash_of(doc: Any) -> str:
    """As the harness hashes the documents of its samples."""
    text = json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
    return str(hash_string(text))
