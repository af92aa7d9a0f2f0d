"""A rule that adds up, over the passes of a block, which tokens were the likeliest ones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from ..bias import Bias
from ..look import Look
from ..policies import ConfidenceThreshold
from ..policy import Decision, DecodingPolicy
from ..scores import Candidates
from ..statistics import Statistics


SEEN = ("entropy", "confidence", "margin", "logit_gap", "argmax")
"""Columns that are read again."""
Credits: TypeAlias = Mapping[int, Mapping[int, float]]
"""By position and token; what is not there is 0."""


@dataclass(frozen=True)
class Credit(DecodingPolicy):
    """Raise the logits of tokens that were likeliest before, then commit what is confident, or else the best.

    In every pass over a block all credits decay, and the likeliest token of each of its masks gains its probability to
    the power of the exponent; logits gain `strength * log(1 + credit)`. Statistics, proposals and samples come from
    these logits. Source: CreditDecoding, arXiv:2510.06133, with the constants of its code in dInfer.
    """

    confidence_threshold: float = 0.9
    """Of the raised distribution, to be reached."""
    credit_decay: float = 0.8
    """Share of a credit that is left at the next pass, from 0 to 1."""
    credit_exponent: float = 0.2
    """At least 0."""
    credit_strength: float = 0.7
    """At least 0; nats per log of credit."""

    @property
    def looks(self) -> bool:
        return True

    def look(self, look: Look, candidates: Candidates) -> Candidates:
        memories = self._credits(candidates)
        biases = tuple(self._bias(credits) for credits in memories)
        seen = Statistics.unpacked(look.statistics(biases))
        columns = candidates.with_eligible({name: getattr(seen, name) for name in SEEN})
        return replace(candidates, **columns, token=columns["argmax"], memories=memories, biases=biases)

    def _credits(self, candidates: Candidates) -> tuple[Credits, ...]:
        """Of every row's eligible positions, this pass included."""
        found = []
        columns = [column.numpy() for column in (candidates.position, candidates.argmax, candidates.confidence)]
        for row, own in enumerate(candidates.eligible.numpy()):
            before = candidates.memories[row] or {}  # of an earlier block it holds none of these positions
            entries = zip(*(column[row, own].tolist() for column in columns), strict=True)
            found.append({at: self._grown(before.get(at, {}), token, sure) for at, token, sure in entries})
        return tuple(found)

    def _grown(self, before: Mapping[int, float], token: int, confidence: float) -> dict[int, float]:
        """Credits of one position after a pass."""
        credits = {other: self.credit_decay * credit for other, credit in before.items()}
        credits[token] = credits.get(token, 0.0) + confidence**self.credit_exponent
        return credits

    def _bias(self, credits: Credits) -> Bias:
        return Bias(
            {
                position: {token: self.credit_strength * math.log1p(credit) for token, credit in own.items()}
                for position, own in credits.items()
            }
        )

    def decide(self, candidates: Candidates) -> Decision:
        return Decision(ConfidenceThreshold(self.confidence_threshold).select(candidates), candidates.memories)
