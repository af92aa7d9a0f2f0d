"""What a file of scored traces shows as a whole: `FILE.summary.json`."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .diversity import diversity
from .separation import METHOD, Separation, plain
from .trace import Trace


GRID = tuple(round(0.1 * step, 1) for step in range(11))
"""Shares of a trace at which those scored after every sentence or token are compared."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The scores of one trace."""

    trace: Trace
    prefix_tokens: Sequence[int]
    log_probs: Sequence[float]
    """Nats; the last is the trace's own."""
    shares: Sequence[float]
    """Of the text's tokens that each prefix holds, from 0 to 1."""

    def at(self, share: float) -> float:
        """After the longest prefix that is no longer than a share of the text; before all of it where none is."""
        reached = [log_prob for own, log_prob in zip(self.shares, self.log_probs, strict=True) if own <= share + 1e-9]
        return reached[-1] if reached else self.log_probs[0]


def summarise(scored: Sequence[Scored], shares: Sequence[float] | None, label: str | None) -> dict[str, Any]:
    """Numbers of the file, and with a label how well scores tell right traces from wrong ones.

    Args:
        scored: All traces, at least one.
        shares: At which all of them were scored; None where every trace has prefixes of its own.
        label: Says which traces are right.
    """
    summary: dict[str, Any] = {
        "traces": len(scored),
        "documents": len({one.trace.document for one in scored}),
        "mean_score": statistics.fmean(one.log_probs[-1] for one in scored),
        "diversity": diversity([one.trace for one in scored]),
    }
    if label is None:
        return summary
    labels = [one.trace.label(label) for one in scored]
    told = [one for one, right in zip(scored, labels, strict=True) if right is not None]
    known = [right for right in labels if right is not None]
    separation = Separation(known, [one.trace.document for one in told])
    columns = _columns(told, shares)
    return {
        **summary,
        "label": {"name": label, "n": len(known), "right": sum(known), "without": len(scored) - len(known)},
        "interval": METHOD,
        "at": [
            {
                "share": share,
                **(plain(separation.area(scores)) or {"auc": None, "low": None, "high": None}),
                "mean_of_right": _mean([own for own, right in zip(scores, known, strict=True) if right]),
                "mean_of_wrong": _mean([own for own, right in zip(scores, known, strict=True) if not right]),
            }
            for share, scores in columns
        ],
        "calibration": [plain(one) for one in separation.bins(columns[-1][1])],
    }


def _columns(told: Sequence[Scored], shares: Sequence[float] | None) -> list[tuple[float, list[float]]]:
    """The scores of all traces at each share."""
    if shares is not None:
        return [(share, [one.log_probs[place] for one in told]) for place, share in enumerate(shares)]
    return [(share, [one.log_probs[-1] if share == 1 else one.at(share) for one in told]) for share in GRID]


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
