"""When a row may end because its answer is clear: judged after every pass, from the answer's masked positions.

Nothing masked in the answer means that the exit fires, except for an entropy below 0, which there is none.
"""

import abc
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class AnswerView:
    """The answer positions that were masks in a pass, A of them, and what the pass said of them."""

    positions: NDArray[np.int64]
    """(A,) in the region, ascending."""
    entropy: NDArray[np.float32]
    """(A,) nats."""
    confidence: NDArray[np.float32]
    """(A,) largest probability."""
    logit_gap: NDArray[np.float32]
    """(A,) largest minus second largest logit."""
    argmax: NDArray[np.int64]
    """(A,) most likely token."""
    share_committed: float
    """Of the row's masks at the start, those that were filled before the pass; from 0 to 1."""
    memory: Any
    """What the rule left after the row's last pass; None before the first."""


class ExitRule(abc.ABC):
    """A frozen dataclass whose fields are its hyper-parameters."""

    @abc.abstractmethod
    def judge(self, answer: AnswerView) -> tuple[bool, Any]:
        """Whether the row ends with this pass, and what is to be remembered if not."""


@dataclass(frozen=True)
class EntropyExit(ExitRule):
    """The sum of the entropies is below the threshold.

    The sum of marginal entropies bounds the joint entropy from above, so the row never ends on an answer less certain
    than asked; a lower threshold ends later. Source: Horvitz et al. 2025, arXiv:2510.19990 (gamma there).
    """

    threshold: float
    """Nats."""

    def judge(self, answer: AnswerView) -> tuple[bool, Any]:
        return math.fsum(answer.entropy.tolist()) < self.threshold, None


@dataclass(frozen=True)
class ConfidenceExit(ExitRule):
    """The mean of the largest probabilities is above the threshold. Source: in-place prompting, arXiv:2508.10736."""

    threshold: float

    def judge(self, answer: AnswerView) -> tuple[bool, Any]:
        if not len(answer.positions):
            return True, None
        return math.fsum(answer.confidence.tolist()) / len(answer.positions) > self.threshold, None


@dataclass(frozen=True)
class LogitGapExit(ExitRule):
    """The mean gap between the two largest logits reaches a level that falls as the row is filled.

    Source: Prophet, arXiv:2508.19982; its reasoning is then filled too, here it stays unfilled.
    """

    levels: tuple[float, float, float] = (7.5, 5.0, 2.5)
    """While less than a third, less than two thirds, and more of the row's masks have been filled."""

    def judge(self, answer: AnswerView) -> tuple[bool, Any]:
        if not len(answer.positions):
            return True, None
        share = answer.share_committed
        level = self.levels[0 if share < 1 / 3 else 1 if share < 2 / 3 else 2]
        return math.fsum(answer.logit_gap.tolist()) / len(answer.positions) >= level, None


@dataclass(frozen=True)
class StableExit(ExitRule):
    """The most likely token of every masked answer position has been the same in so many passes in a row."""

    passes: int
    """At least 1, this pass included."""

    def judge(self, answer: AnswerView) -> tuple[bool, Any]:
        before: dict[int, tuple[int, int]] = answer.memory or {}
        runs = {}
        for position, token in zip(answer.positions.tolist(), answer.argmax.tolist(), strict=True):
            last, length = before.get(position, (None, 0))
            runs[position] = (token, length + 1 if last == token else 1)
        return all(length >= self.passes for _, length in runs.values()), runs
