"""How far off an estimate was, once the run has been made."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files import only_a_file
from .estimate import Estimate, duration
from .findings import Findings


def compare(estimate: Path, results: Path, say: Callable[[str], None] = print) -> bool:
    """Hold an estimate beside the results of a run.

    Args:
        estimate: That `--output` wrote.
        results: A results file of lm_eval, or a folder that holds one.
        say: Takes each line.

    Returns:
        Whether both are of the same tasks, options, network and device; the figures are given in any case.

    Raises:
        UsageError: For a file that is not what it should be.
    """
    foreseen = Estimate.read(estimate)
    path = _results_file(results)
    taken = _read(path)
    try:
        differences, figures = list(_differences(foreseen, taken)), list(_figures(foreseen, taken))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"--compare {estimate} and --results {path} must be as doctor and lm_eval wrote them "
            f"({type(error).__name__}: {error}); correct them."
        ) from None
    findings = Findings(say)
    with findings.section(f"{estimate} beside {path.name}"):
        for difference in differences:
            findings.fail(difference)
        for figure in figures:
            findings.ok(figure)
    return not findings.failed


def off(foreseen: float, taken: float) -> str:
    """In words: how much the estimate was above or below what was taken."""
    if not taken:
        return "nothing was taken"
    error = foreseen / taken - 1
    return f"{abs(error):.0%} too {'high' if error > 0 else 'low'}" if abs(error) >= 0.005 else "right to 0.5%"


def _figures(foreseen: Estimate, taken: Mapping[str, Any]) -> Iterator[str]:
    for name, own in foreseen.tasks.items():
        # The same under every filter.
        counted = (value for key, value in taken["results"].get(name, {}).items() if key.startswith("nfe,"))
        nfe = next(counted, None)
        if nfe is not None:
            yield f"{name}: nfe {own.nfe:.1f} foreseen, {nfe:.1f} taken: {off(own.nfe, nfe)}"
    seconds = float(taken["config"]["mdlm"]["totals_of_rank_0"]["seconds"])
    yield (
        f"answers: {duration(foreseen.answer_seconds)} ± {foreseen.relative_error:.0%} foreseen, {duration(seconds)} "
        f"taken: {off(foreseen.answer_seconds, seconds)}"
    )
    total = float(taken["total_evaluation_time_seconds"])
    known = foreseen.load_seconds + foreseen.prepare_seconds
    rest = total - seconds - known
    yield (
        f"whole command: {duration(total)}: answers {duration(seconds)}, loading about "
        f"{duration(foreseen.load_seconds)}, writing requests about {duration(foreseen.prepare_seconds)}, and "
        f"{duration(max(rest, 0.0))} of the harness's own, of which no estimate is made"
    )


def _differences(foreseen: Estimate, taken: Mapping[str, Any]) -> Iterator[str]:
    """Why the two are not of one run."""
    own = taken["config"]["mdlm"]
    pairs = {
        "processes": (1, own["world_size"]),
        "batch_size": (foreseen.batch_size, own["loading"]["batch_size"]),
        "device": (foreseen.device_name, own["device_name"]),
        "weights": (foreseen.fingerprint, own["backbone"]["fingerprint"]),
    }
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            yield f"{name}: the estimate is for {ours}, and the run had {theirs}; make one for that."
    for name in ("from_cache", "from_journal"):
        if number := own["totals_of_rank_0"][name]:
            yield f"{name}: {number} requests were not answered in that run, so that its time says little."
    yield from _differences_of_tasks(foreseen, taken, own["decoding_by_task"])


def _differences_of_tasks(
    foreseen: Estimate, taken: Mapping[str, Any], by_task: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    numbers = {name: own["effective"] for name, own in taken["n-samples"].items()}
    for name in sorted({*foreseen.tasks, *numbers}):
        if name not in foreseen.tasks or name not in numbers:
            where = "run" if name in numbers else "estimate"
            yield f"{name} is in the {where} alone; make an estimate of the same tasks."
            continue
        own = foreseen.tasks[name]
        if own.documents != numbers[name]:
            yield (
                f"{name}: the estimate is of {own.documents} documents, and the run had {numbers[name]}; give the same "
                f"--limit."
            )
        theirs = by_task.get(name, {})
        for option in sorted({*own.options, *theirs}):
            if own.options.get(option) != theirs.get(option):
                yield (
                    f"{name}: the estimate is for {option}={own.options.get(option)!r}, and the run had "
                    f"{theirs.get(option)!r}; make one for that."
                )


def _results_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.rglob("results_*.json"))
    if len(found) != 1:
        raise UsageError(f"--results {path} must hold one results_*.json, and holds {len(found)}; name the file.")
    return found[0]


def _read(path: Path) -> Any:
    try:
        content = json.loads(only_a_file(path).read_text(encoding="utf-8"))
        own = content["config"]["mdlm"]
        for part, names in (
            (content, ("results", "n-samples", "total_evaluation_time_seconds")),
            (own, ("totals_of_rank_0", "decoding_by_task", "loading", "world_size", "device_name", "backbone")),
        ):
            for name in names:
                part[name]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"--results {path} must be a results file of a run with --model mdlm ({type(error).__name__}: {error}); "
            f"correct it."
        ) from None
    return content
