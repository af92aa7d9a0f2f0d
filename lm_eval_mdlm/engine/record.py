"""What a decoded row gives back, and every quantity that is counted for it (docs/semantics.md 9)."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


FAILED = "failed"
STOPS = ("complete", "settled", "exit", "cap", FAILED)
"""No mask is left; the text cannot change any more; the answer was clear; `max_nfe` passes were run; the network
returned no numbers."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The outcome of one request."""

    token_ids: list[int]
    """The whole region: fixed text, a given answer, committed tokens, and mask ids where nothing was filled in."""
    text: str | None
    """Returned text; None if the backbone has no tokenizer."""
    nfe: int
    """Forward passes in which the row was live; with guidance each step counts 2."""
    nfe_partial: int = 0
    """Of these, passes that recomputed only part of the canvas; 0 in exact mode."""
    tokens: int
    """Committed tokens in the returned text."""
    stop: str = "complete"
    """Why no further pass was run; one of `STOPS`."""
    early_exit: bool = False
    """Whether the answer's certainty ended the row."""
    exit_step: int | None = None
    """Number of the pass that fired the exit, from 1; None if none did."""
    answer_entropy: float | None = None
    """Sum of the entropies of the masked answer positions at the last pass, nats; None without an answer segment, and
    where its answer was given."""
    gold_logprob: float | None = None
    """Log-probability of the gold answer that decoding was asked to watch, nats; None where none was."""
    truncated: bool = False
    """Whether the prompt was cut to fit."""
    commit_steps: list[int | None] | None = None
    """On request: for each position of the region the step, from 1, that committed it; None where none did."""

    @property
    def failed(self) -> bool:
        """Whether the network returned no numbers for it; the text is empty then, and the region as it began."""
        return self.stop == FAILED

    @property
    def tokens_per_forward(self) -> float:
        """Committed tokens in the returned text per forward pass; 0 where no pass was needed."""
        return self.tokens / self.nfe if self.nfe else 0.0

    def to_plain(self) -> dict[str, Any]:
        """As plain values; `Generation(**plain)` is the inverse."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def stats(self) -> dict[str, int | float]:
        """The counts by their names in docs/semantics.md section 9, as numbers that can be averaged; and `stop`.

        `exit_step` is 0 where no exit fired, so its mean over the mean of `early_exit` is the mean exit step.
        `failed_rows` is there for a row that has failed, and then 1. `answer_entropy` is left out where there is no
        answer to decode, `gold_logprob` where there is none.
        """
        stats: dict[str, int | float] = {
            "nfe": self.nfe,
            "nfe_partial": self.nfe_partial,
            "tokens": self.tokens,
            "tokens_per_forward": self.tokens_per_forward,
            "early_exit": int(self.early_exit),
            "exit_step": self.exit_step or 0,
            "truncated": int(self.truncated),
            "stop": STOPS.index(self.stop),
        }
        if self.failed:
            stats["failed_rows"] = 1
        if self.answer_entropy is not None:
            stats["answer_entropy"] = self.answer_entropy
        if self.gold_logprob is not None:
            stats["gold_logprob"] = self.gold_logprob
        return stats


@dataclass(frozen=True, kw_only=True)
class Score:
    """How probable a text is."""

    log_prob: float
    """Nats; NaN if the network returned no numbers for it."""
    standard_error: float | None
    """Of `log_prob`, nats; 0 where it is exact, None where a single sample, or an infinite one, says nothing of it."""
    is_greedy: bool = False
    """Whether greedy decoding gives the text; False where that was not asked."""
    nfe: int
    """Forward passes, those of greedy decoding too; guidance counts 2."""
    nfe_partial: int = 0
    """Of these, passes that recomputed only part of the canvas."""
    nfe_saved: int | None = None
    """Passes that were not run because the standard error was small enough; None where that was not asked."""
    truncated: bool = False
    """Whether the context was cut to fit."""

    @property
    def failed(self) -> bool:
        """Whether the network returned no numbers for it."""
        return math.isnan(self.log_prob)

    @property
    def stats(self) -> dict[str, int | float]:
        """The counts by their names in docs/semantics.md, as numbers that can be added up or averaged."""
        counts = {"nfe": self.nfe, "nfe_partial": self.nfe_partial, "nfe_saved": self.nfe_saved}
        stats = {**counts, "truncated": int(self.truncated), "likelihood_se": self.standard_error}
        stats["failed_rows"] = 1 if self.failed else None
        return {name: value for name, value in stats.items() if value is not None}


@dataclass(frozen=True)
class Scores:
    """Of texts that were scored together."""

    scores: tuple[Score, ...]

    @property
    def failed(self) -> bool:
        """Whether the network returned no numbers for one of them, so that none has a score."""
        return any(score.failed for score in self.scores)

    @property
    def nfe(self) -> int:
        """Forward passes for all of them."""
        return sum(score.nfe for score in self.scores)

    @property
    def tokens(self) -> int:
        """None are written."""
        return 0

    @property
    def log_prob(self) -> float:
        """Of all texts one after the other, nats."""
        return math.fsum(score.log_prob for score in self.scores)

    @property
    def stats(self) -> dict[str, int | float]:
        """Of all texts together: sums, whether any context was cut, and the standard error of `log_prob`."""
        own = [score.stats for score in self.scores]
        names = [n for n in ("nfe", "nfe_partial", "nfe_saved") if all(n in one for one in own)]
        totals: dict[str, int | float] = {name: sum(one[name] for one in own) for name in names}
        totals["truncated"] = int(any(score.truncated for score in self.scores))
        if self.failed:
            totals["failed_rows"] = 1
        errors = [score.standard_error for score in self.scores]
        known = [error for error in errors if error is not None]
        return {**totals, "likelihood_se": math.hypot(*known)} if len(known) == len(errors) else totals

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return {"scores": [dataclasses.asdict(score) for score in self.scores]}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Scores":
        """The inverse of `to_plain`."""
        return cls(tuple(Score(**score) for score in plain["scores"]))
