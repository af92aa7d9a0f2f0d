"""The table of a sweep: a row for every cell, task and filter."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from ..errors import UsageError
from ..files import only_a_file
from ..showing.visible import spreadsheet_cell
from .sweep_config import Cell


def write_table(output: Path, cells: Sequence[Cell]) -> None:
    """`cells.csv` and `cells.parquet` of finished cells, in their order; each file appears as a whole.

    Args:
        output: The sweep's folder.
        cells: Those whose folders are there.

    Raises:
        UsageError: If a cell's results cannot be read, or a file cannot be written.
    """
    rows = [row for cell in cells for row in _rows(cell, cell.folder(output))]
    try:
        _write(output, pandas.DataFrame(rows).convert_dtypes())
    except UsageError:
        raise
    except (ValueError, TypeError, NotImplementedError, OverflowError) as error:  # of values that are no column's
        why = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the results below {output / 'cells'} make no table ({type(error).__name__}: {why}); remove the cell that "
            f"was changed, and the sweep runs it again."
        ) from None


def _write(output: Path, table: Any) -> None:
    for name, write in (("cells.csv", _for_spreadsheets(table).to_csv), ("cells.parquet", table.to_parquet)):
        unfinished = output / f"{name}.part"
        try:
            write(unfinished, index=False)
            unfinished.replace(output / name)
        except OSError as error:
            why = error.strerror or error
            raise UsageError(
                f"{output / name} cannot be written: {why}; make room there, and the same command writes it."
            ) from None


def _for_spreadsheets(table: Any) -> Any:
    """Without texts that a spreadsheet would run: names of prompts and metrics, and options, are others' texts."""
    return table.map(spreadsheet_cell).rename(columns=spreadsheet_cell)


def _rows(cell: Cell, folder: Path) -> list[dict[str, Any]]:
    try:
        (file,) = folder.rglob("results_*.json")
        results = json.loads(only_a_file(file).read_text(encoding="utf-8"))
        return [
            {
                "cell": cell.name,
                "task": task,
                "filter": filter_name,
                "n": results["n-samples"][task]["effective"],
                "prompt": cell.prompt.name,
                "num_fewshot": results["n-shot"][task],
                "seed": cell.seed,
                **_options(cell, results, task),
                **metrics,
            }
            for task in results["configs"]
            for filter_name, metrics in _by_filter(results["results"][task]).items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{folder} holds no results that can be read ({error!r}); remove it, and the sweep runs the cell again."
        ) from None


def _by_filter(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Metrics and standard errors of each filter: `acc,none` is `acc` of `none`."""
    filters: dict[str, dict[str, Any]] = {}
    for name, value in metrics.items():
        metric, comma, filter_name = name.partition(",")
        if comma and isinstance(value, (int, float)):
            filters.setdefault(filter_name, {})[metric] = value
    return filters


def _options(cell: Cell, results: Mapping[str, Any], task: str) -> dict[str, Any]:
    """All decoding options as they took effect, and the passes that they promise where they promise a number."""
    effective: Mapping[str, Any] = results["config"]["mdlm"]["decoding_by_task"].get(task, {})
    plain = {
        name: value if isinstance(value, (int, float, str)) or value is None else json.dumps(value)
        for name, value in effective.items()
        if name != "seed"  # the cell's own, which is there already
    }
    nominal = results["config"]["mdlm"].get("nominal_nfe_by_task", {}).get(task)
    return {**plain, "nominal_nfe": nominal if isinstance(nominal, int) else None}
