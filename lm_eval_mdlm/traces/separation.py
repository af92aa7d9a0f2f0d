"""How well scores tell right traces from wrong ones: area under the ROC curve with an interval, and bins."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score


NUM_RESAMPLES = 1000
NUM_BINS = 10
PAIRS_AT_ONCE = 1000
"""Right traces that are compared with all wrong ones together, so that memory stays small."""
METHOD = f"95 % percentile bootstrap over documents, {NUM_RESAMPLES} resamples, seed 0"


@dataclass(frozen=True, kw_only=True)
class Area:
    """Probability that a right trace scores higher than a wrong one, ties counting half."""

    auc: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Traces of neighbouring scores."""

    lowest: float
    highest: float
    n: int
    right: float
    """Share of right ones."""
    probability: float
    """Mean of exp(score)."""


class Separation:
    """Labels of traces, and the documents that they belong to.

    Traces of one document are no independent observations, so that documents are resampled.

    Args:
        labels: Whether each trace is right.
        documents: Names the document of each trace.
    """

    def __init__(self, labels: Sequence[bool], documents: Sequence[Hashable]) -> None:
        self._labels = np.array(labels, dtype=bool)
        places = {document: place for place, document in enumerate(dict.fromkeys(documents))}
        own = np.array([places[document] for document in documents], dtype=np.int64)
        drawn = np.random.default_rng(0).integers(len(places), size=(NUM_RESAMPLES, len(places)))
        # The same resamples for all scores, so that they can be compared.
        self._weights = np.array([np.bincount(one, minlength=len(places))[own] for one in drawn], dtype=np.float64)
        """How often each resample (row) has each trace."""

    @property
    def has_both(self) -> bool:
        """Whether there are right and wrong traces."""
        return bool(self._labels.any() and not self._labels.all())

    def area(self, scores: Sequence[float]) -> Area | None:
        """Of the scores, one per trace; None without both right and wrong traces."""
        if not self.has_both:
            return None
        ranks = rankdata(scores)  # infinite scores have ranks too
        low, high = np.nanquantile(self._resampled(ranks), [0.025, 0.975])
        return Area(auc=float(roc_auc_score(self._labels, ranks)), low=float(low), high=float(high))

    def _resampled(self, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """The area of every resample; NaN for one without both right and wrong traces.

        All at once: scikit-learn's function takes them one by one, a thousand times as long.
        """
        right, wrong = np.flatnonzero(self._labels), np.flatnonzero(~self._labels)
        beside = self._weights[:, wrong]
        won = np.zeros(len(self._weights))
        for some in np.array_split(right, -(-len(right) // PAIRS_AT_ONCE)):
            pairs = np.sign(ranks[some, None] - ranks[wrong]) / 2 + 0.5
            won += ((self._weights[:, some] @ pairs) * beside).sum(axis=1)
        all_pairs = self._weights[:, right].sum(axis=1) * beside.sum(axis=1)
        areas = np.full(len(won), np.nan)
        np.divide(won, all_pairs, out=areas, where=all_pairs > 0)
        return areas

    def bins(self, scores: Sequence[float]) -> list[Bin]:
        """Up to ten of equal size, from the lowest score to the highest."""
        values = np.array(scores, dtype=np.float64)
        order = np.argsort(values, kind="stable")
        pieces = [piece for piece in np.array_split(order, min(NUM_BINS, len(order))) if len(piece)]
        return [
            Bin(
                lowest=float(values[piece].min()),
                highest=float(values[piece].max()),
                n=len(piece),
                right=float(self._labels[piece].mean()),
                probability=float(np.exp(values[piece]).mean()),
            )
            for piece in pieces
        ]


def plain(found: Area | Bin | None) -> dict[str, Any] | None:
    """As plain values."""
    return None if found is None else asdict(found)
