"""How different the traces of one document are."""

import difflib
import itertools
import statistics
from collections import defaultdict
from collections.abc import Sequence

from .trace import Trace


def diversity(traces: Sequence[Trace]) -> dict[str, float] | None:
    """Means over the documents that have several traces; None if none has.

    `distinct` is the share of different texts among a document's traces; `similarity` the mean over all pairs of
    difflib's ratio of their words, 1 for equal texts.
    """
    by_document: dict[tuple[str, str], list[str]] = defaultdict(list)
    for trace in traces:
        by_document[trace.document].append(trace.solution.strip())
    several = [texts for texts in by_document.values() if len(texts) > 1]
    if not several:
        return None
    return {
        "documents": len(several),
        "distinct": statistics.fmean(len(set(texts)) / len(texts) for texts in several),
        "similarity": statistics.fmean(_similarity(texts) for texts in several),
    }


def _similarity(texts: Sequence[str]) -> float:
    pairs = itertools.combinations([text.split() for text in texts], 2)
    return statistics.fmean(difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() for one, other in pairs)
