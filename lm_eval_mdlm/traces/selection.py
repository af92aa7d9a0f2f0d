"""Which traces are kept as training data (`lm-eval-mdlm select`)."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..running.output import write_lines
from .trace import Trace, read_traces


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a trace must be. None leaves a rule out."""

    min_score: float | None = None
    """Least score, nats."""
    correct: str | None = None
    """A label that must be true."""
    unique: bool = False
    """Of equal reasoning for one document only one is kept: the one of highest score, or else the first."""
    top: int | None = None
    """So many of each document, those of highest score, are kept after all other rules."""

    def check(self) -> None:
        """UsageError without a rule, or for one that cannot be."""
        if not any(dataclasses.astuple(self)) and self.min_score is None and self.top is None:
            raise UsageError("select needs a rule; give --min_score, --top, --unique or --correct.")
        if self.top is not None and self.top < 1:
            raise UsageError(f"--top must be at least 1, got {self.top}; correct it or leave it out.")

    def of(self, traces: Sequence[Trace]) -> list[Trace]:
        """Those that are kept, in the order of the file.

        Raises:
            UsageError: If a line has no score or label that a rule needs.
        """
        kept = list(traces)
        if self.min_score is not None:
            kept = [trace for trace in kept if _score(trace) >= self.min_score]
        if self.correct is not None:
            kept = [trace for trace in kept if trace.label(self.correct)]
        if self.unique:
            kept = _best(kept, lambda trace: (trace.document, trace.solution.strip()), 1, _score_if_any)
        if self.top is not None:
            kept = _best(kept, lambda trace: trace.document, self.top, _score)
        return kept


def select_file(traces: Path, output: Path, selection: Selection) -> str:
    """Write the lines that are kept as they are; a summary in one line.

    Raises:
        UsageError: For a file or rule that cannot be, an output that exists, or if nothing is kept.
    """
    selection.check()
    if output.exists():
        raise UsageError(f"--output {output} exists; name another file, or remove it.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: the folder {output.absolute().parent} does not exist; make it.")
    found = read_traces(traces)
    kept = selection.of(found)
    if not kept:
        raise UsageError(f"none of the {len(found)} traces of {traces} is kept; loosen the rules.")
    write_lines(output, [trace.record for trace in kept])
    documents = [len({trace.document for trace in those}) for those in (kept, found)]
    return f"{output}: {len(kept)} of {len(found)} traces, of {documents[0]} of {documents[1]} documents"


def _best(
    traces: Sequence[Trace], group: Callable[[Trace], Hashable], number: int, rank: Callable[[Trace], float]
) -> list[Trace]:
    """Of each group those of highest rank, earlier ones first among equals; in the order given."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, trace in enumerate(traces):
        groups[group(trace)].append(place)
    ranks = [rank(trace) for trace in traces]
    chosen = {place for own in groups.values() for place in sorted(own, key=lambda i: -ranks[i])[:number]}
    return [trace for place, trace in enumerate(traces) if place in chosen]


def _score(trace: Trace) -> float:
    return float(trace.get("score"))


def _score_if_any(trace: Trace) -> float:
    return _score(trace) if "score" in trace.record else 0.0
