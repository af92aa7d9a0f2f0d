"""What a sampler is to the engine: where it may commit, what it looks at, and what it does in a pass.

A policy sees distributions, never the network, texts or the rows beside its own. It is a frozen object that many rows
share; what a row has to remember between its passes is handed to the policy, and handed back changed.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .look import Look
from .scores import Candidates, by_confidence
from .types import Mask, PerPosition, Positions
from .vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a row has come, between two passes."""

    masked: NDArray[np.bool_]
    """(region,) masks as they stand."""
    free: NDArray[np.bool_]
    """(region,) positions that were masks at the start; all others are fixed text or a given answer."""
    block: NDArray[np.int64]
    """Positions of the masks that the current block held when it opened, ascending."""
    memory: Any
    """What the policy left there after the row's last pass."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What a policy does after a pass to B rows with up to N wanted positions each."""

    commit: Mask
    """Positions that take their token now: eligible ones, or revisable ones, whose token is then replaced."""
    memories: Sequence[Any]
    """One per row, for its next pass."""
    remask: Mask | None = None
    """Revisable positions that become masks again; None for none."""
    tokens: Positions | None = None
    """Tokens that the policy drew itself; None where the proposals are the usual ones."""


class DecodingPolicy(abc.ABC):
    """A sampler; a frozen dataclass whose fields are its hyper-parameters."""

    @property
    def needs_noise(self) -> bool:
        """Whether `Candidates.noise` must be drawn."""
        return False

    @property
    def needs_tokens(self) -> bool:
        """Whether the choice of positions depends on the tokens proposed there."""
        return False

    @property
    def looks(self) -> bool:
        """Whether `look` does anything."""
        return False

    @property
    def compares(self) -> bool:
        """Whether `Candidates.divergence` must be read."""
        return False

    @property
    def proposes(self) -> bool:
        """Whether `look` draws the proposals, so that its tokens are those that positions would take."""
        return False

    @property
    def may_pause(self) -> bool:
        """Whether a pass may change nothing, because the published loop has such passes."""
        return False

    @property
    def revises(self) -> bool:
        """Whether committed tokens may be replaced or become masks again."""
        return False

    @property
    def has_fixed_blocks(self) -> bool:
        """Whether a row is filled block by block; if not, its one block is the region, and `block_length` is unused."""
        return True

    @property
    def depends_on_distributions_alone(self) -> bool:
        """Whether what is committed follows from the distributions of this pass, so that texts have a probability."""
        sees_more = self.needs_noise or self.needs_tokens or self.looks or self.compares
        return not (sees_more or self.may_pause or self.revises)

    def check_blocks(self, num_blocks: int) -> None:  # noqa: B027  most rules run with any number
        """Raise UsageError if the rule cannot run over this many blocks that hold masks; 0 where nothing is to do."""

    def most_steps(self, num_masks: int) -> int | None:
        """Passes within which a row is done, whatever the network says; None where every pass commits for good."""
        return None

    def steps_of(self, num_masks: int, num_blocks: int) -> int | None:
        """Passes that a block with so many masks takes, one of so many blocks; None where the network decides."""
        return None

    def bound(self, vocabulary: Vocabulary) -> "DecodingPolicy":
        """The same rule for a certain model's tokens; UsageError if they do not fit."""
        return self

    def on_grid(self, block_length: int) -> "DecodingPolicy":
        """The same rule for networks whose blocks, `block_length` positions each, lie on a grid with the prompt.

        How many blocks hold masks then depends on the prompt.
        """
        return self

    def begin(self) -> Any:
        """A row's memory before its first pass."""
        return None

    def scope(self, progress: Progress) -> NDArray[np.bool_]:
        """(region,) where the next pass may commit; the engine leaves out what is no mask.

        By default the current block, which is not asked for where blocks are fixed and nothing is revised.
        """
        inside = np.zeros(len(progress.masked), dtype=bool)
        inside[progress.block] = True
        return inside

    def revisable(self, progress: Progress) -> NDArray[np.bool_] | None:
        """(region,) committed positions that the next pass reads again; None for none."""
        return None

    def look(self, look: Look, candidates: Candidates) -> Candidates:
        """Read more off the distributions than statistics; may replace columns of the candidates and memories."""
        return candidates

    def focus(self, candidates: Candidates) -> Candidates:
        """Fewer eligible positions, where the pass itself says which; may replace memories. Twice is as once.

        `decide` begins with it; who leaves out positions before `decide` does so after this, so that the rule still
        knows what it chose from.
        """
        return candidates

    def order(self, candidates: Candidates) -> PerPosition:
        """How much the rule would like to commit each position, best first: the lowest, ties to the leftmost."""
        return by_confidence(candidates)

    @abc.abstractmethod
    def decide(self, candidates: Candidates) -> Decision:
        """What is done now. Commits or changes something in every row that has a mask, unless `may_pause`."""

    def completes(self, num_masked: int, memory: Any) -> bool:
        """Whether the current block is finished, with so many of its masks left."""
        return not num_masked

    def is_final(self, memory: Any) -> bool:
        """Whether committed tokens of the current block will stay as they are."""
        return not self.revises


class UnmaskPolicy(DecodingPolicy):
    """A rule that keeps nothing between passes: it chooses from uncertainty alone."""

    @abc.abstractmethod
    def select(self, candidates: Candidates) -> Mask:
        """Positions to commit now: a subset of `eligible`, not empty in a row where that is not."""

    def decide(self, candidates: Candidates) -> Decision:
        return Decision(self.select(candidates), candidates.memories)
