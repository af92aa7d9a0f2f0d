"""The benchmarks' documents: from the hub, or from files in a folder that `--metadata` names as `data_dir`.

Called by the harness as `custom_dataset`, with everything in `--metadata` and `--model_args` as keywords.
"""

import difflib
import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from datasets import Dataset, load_dataset

from ..errors import UsageError
from .gsm8k import gold_number
from .sandbox import check_support


Splits = dict[str, Dataset]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where a benchmark's documents are, and what each must hold."""

    hub_id: str
    hub_config: str | None = None
    files: Mapping[str, str]
    """File name in `data_dir` by split; JSON lines, gzipped if it ends in .gz."""
    fields: tuple[str, ...]
    """Read from each line, strings that are not empty; other fields are left out."""
    may_be_empty: frozenset[str] = frozenset()
    """Those of the fields that may be."""
    fault: Callable[[Mapping[str, str]], str | None] = lambda row: None
    """What else is wrong with a document, or None."""


def _without_number(row: Mapping[str, str]) -> str | None:
    return "answer must end in '#### <number>'" if gold_number(row["answer"]) is None else None


GSM8K = Benchmark(
    hub_id="openai/gsm8k",
    hub_config="main",
    files={"train": "gsm8k_train.jsonl", "test": "gsm8k_test.jsonl"},
    fields=("question", "answer"),
    fault=_without_number,
)
MATH500 = Benchmark(
    hub_id="HuggingFaceH4/MATH-500",
    files={"test": "math500_test.jsonl"},
    fields=("problem", "solution", "answer"),
)
HUMANEVAL = Benchmark(
    hub_id="openai/openai_humaneval",
    files={"test": "HumanEval.jsonl.gz"},
    fields=("task_id", "prompt", "canonical_solution", "test", "entry_point"),
)
HUMANEVAL_INFILLING = Benchmark(
    hub_id="loubnabnl/humaneval_infilling",
    hub_config="HumanEval-SingleLineInfilling",
    files={"test": "HumanEval-SingleLineInfilling.jsonl.gz"},
    fields=("task_id", "prompt", "suffix", "canonical_solution", "test", "entry_point"),
    may_be_empty=frozenset({"suffix"}),  # where the last line is missing
)


def gsm8k(data_dir: str | None = None, **metadata: Any) -> Splits:
    """GSM8K, splits train and test; see `load`."""
    return load(GSM8K, data_dir, metadata)


def math500(data_dir: str | None = None, **metadata: Any) -> Splits:
    """MATH-500, split test; see `load`."""
    return load(MATH500, data_dir, metadata)


def humaneval(data_dir: str | None = None, **metadata: Any) -> Splits:
    """HumanEval, split test; see `load`. UsageError also if its programs could not be run here later on."""
    check_support()
    return load(HUMANEVAL, data_dir, metadata)


def humaneval_infilling(data_dir: str | None = None, **metadata: Any) -> Splits:
    """HumanEval's single-line infilling, split test; see `humaneval`."""
    check_support()
    return load(HUMANEVAL_INFILLING, data_dir, metadata)


def load(benchmark: Benchmark, data_dir: str | None, metadata: Mapping[str, Any]) -> Splits:
    """The documents by split: from `data_dir` if it is given, and then from nowhere else; otherwise from the hub.

    Args:
        benchmark: Which one.
        data_dir: Folder with the benchmark's files.
        metadata: What else the user passed; not used, only searched for a misspelt `data_dir`.

    Raises:
        UsageError: If a folder, file, line or field is missing or malformed, or the hub cannot be reached.
    """
    if data_dir is not None:
        return {split: Dataset.from_list(rows) for split, rows in _read_folder(benchmark, data_dir).items()}
    for name in difflib.get_close_matches("data_dir", metadata, n=1, cutoff=0.8):
        raise UsageError(f"unknown metadata key {name!r}; did you mean 'data_dir'?")
    try:
        return {split: load_dataset(benchmark.hub_id, benchmark.hub_config, split=split) for split in benchmark.files}
    # ConnectionError and the hub's own errors are kinds of OSError; datasets refuses loading scripts by RuntimeError.
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"cannot read {benchmark.hub_id} from the hub ({str(error).splitlines()[0]}); connect, or pass "
            f'--metadata \'{{"data_dir": "FOLDER"}}\' with {" and ".join(benchmark.files.values())}.'
        ) from error


def _read_folder(benchmark: Benchmark, data_dir: str) -> dict[str, list[dict[str, str]]]:
    if not isinstance(data_dir, str) or not data_dir or not Path(data_dir).expanduser().is_dir():
        raise UsageError(f"data_dir must be an existing folder, got {data_dir!r}; correct the path in --metadata.")
    folder = Path(data_dir).expanduser()
    return {split: read_documents(folder / name, benchmark) for split, name in benchmark.files.items()}


def read_documents(path: Path, benchmark: Benchmark) -> list[dict[str, str]]:
    """The documents of one file in order; blank lines are skipped. UsageError as for `load`."""
    if not path.is_file():
        raise UsageError(
            f"{path} is missing, and {benchmark.hub_id} is read from it; add it, or leave data_dir out to use the hub."
        )
    rows = []
    try:
        with cast(
            TextIO, gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
        ) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    rows.append(_document(line, f"{path} line {number}", benchmark))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read ({error}); fetch it again.") from error
    if not rows:
        raise UsageError(f"{path} holds no documents; fetch it again.")
    return rows


def _document(line: str, place: str, benchmark: Benchmark) -> dict[str, str]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UsageError(f"{place} is not JSON ({error.msg} at column {error.colno}); correct it.") from None
    for field in benchmark.fields:
        value = row.get(field) if isinstance(row, dict) else None
        if not isinstance(value, str) or not (value or field in benchmark.may_be_empty):
            raise UsageError(f"{place}: {field} must be a string that is not empty, got {value!r}; correct it.")
    fault = benchmark.fault(row)
    if fault:
        raise UsageError(f"{place}: {fault}, got {row['answer']!r}; correct it.")
    return {field: row[field] for field in benchmark.fields}
