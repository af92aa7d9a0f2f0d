"""What a request gave back, in parts that are compared exactly."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lm_eval_mdlm.engine.record import Scores


Bits = Mapping[str, str]
"""For each field of a result its value, written so that equal texts are equal bits."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "tokens": ("token_ids", "text", "tokens", "tokens_per_forward", "truncated"),
    "NFE": ("nfe", "nfe_partial", "nfe_saved"),
    "exits": ("stop", "early_exit", "exit_step"),
    "entropies": ("answer_entropy",),
    "log-likelihoods": ("log_prob", "standard_error", "likelihood_se", "is_greedy", "log_probs", "gold_logprob"),
    "recordings": ("steps",),
}
"""Fields of records, of the harness's responses and of its counts."""


def plain_of(record: Any) -> dict[str, Any]:
    """The fields of a `Generation`, a `TraceScore`, a `Score`, or of `Scores` of one text."""
    if isinstance(record, Scores):
        (record,) = record.scores
    return dataclasses.asdict(record)


def bits_of(plain: Mapping[str, Any]) -> Bits:
    """The fields of a result that are compared.

    JSON writes every float so that it is read back to the bit, and NaN like NaN.
    """
    return {name: json.dumps(plain[name]) for names in PARTS.values() for name in names if name in plain}


class Comparison:
    """Counts, and keeps nothing of what it has compared."""

    def __init__(self) -> None:
        self.compared, self.differing = Counter[str](), Counter[str]()
        """Requests by part: those that have it both times, and those where it is another the second time."""

    def add(self, first: Bits, second: Bits) -> None:
        """Compare two results of one request by the fields that both have."""
        for part, names in PARTS.items():
            both = [(first[name], second[name]) for name in names if name in first and name in second]
            if any(one != "null" for values in both for one in values):
                self.compared[part] += 1
                self.differing[part] += any(one != other for one, other in both)
