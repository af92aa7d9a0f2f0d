"""A rule that waits until a position's distribution has stopped moving."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..look import Look
from ..policy import Decision, DecodingPolicy
from ..scores import Candidates, by_confidence, ranks


@dataclass(frozen=True, eq=False)
class Past:
    """What a row remembers of a pass over its current block."""

    positions: NDArray[np.int64]
    """That were eligible then, ascending."""
    runs: NDArray[np.int64]
    """(positions,) for how many passes in a row they had hardly changed."""

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The runs of some of its positions."""
        return self.runs[np.searchsorted(self.positions, positions)]


@dataclass(frozen=True)
class Klass(DecodingPolicy):
    """Commit every position that is confident and stable, or else the most confident one.

    Stable is a position whose last KL divergences, each of a pass's distribution from that of the pass before, are all
    below a threshold; the first pass of a block has none. Source: Kim et al. 2025 (KLASS), arXiv:2511.05664, whose
    published code carries divergences over from block to block.
    """

    confidence_threshold: float = 0.9
    """To be exceeded."""
    kl_threshold: float = 0.01
    """Nats, not to be reached."""
    history: int = 2
    """Divergences that are looked at, at least 1."""

    @property
    def looks(self) -> bool:
        return True

    @property
    def compares(self) -> bool:
        return True

    @property
    def depends_on_distributions_alone(self) -> bool:
        return True  # on those of earlier passes, too

    def look(self, look: Look, candidates: Candidates) -> Candidates:
        # Not in `decide`: what is eligible may have been narrowed down there.
        assert candidates.divergence is not None, "the engine reads it for whoever compares"
        calm = candidates.divergence.numpy() < self.kl_threshold
        memories, position, eligible = [], candidates.position.numpy(), candidates.eligible.numpy()
        for row, (step, memory) in enumerate(zip(candidates.block_step.tolist(), candidates.memories, strict=True)):
            own = eligible[row]
            at = position[row, own]
            # The first pass of a block has no other before it: nothing has been stable yet.
            runs = np.where(calm[row, own], memory.at(at) + 1, 0) if step else np.zeros(len(at), dtype=np.int64)
            memories.append(Past(at, runs))
        return replace(candidates, memories=tuple(memories))

    def decide(self, candidates: Candidates) -> Decision:
        position, eligible = candidates.position.numpy(), candidates.eligible.numpy()
        past = np.zeros(position.shape, dtype=np.int64)
        for row, memory in enumerate(candidates.memories):
            past[row, eligible[row]] = memory.at(position[row, eligible[row]])
        runs = torch.from_numpy(past)
        ready = candidates.eligible & (runs >= self.history) & (candidates.confidence > self.confidence_threshold)
        best = ranks(by_confidence(candidates), candidates.eligible) == 0
        commit = ready | (best & candidates.eligible & ~ready.any(dim=-1, keepdim=True))
        return Decision(commit, candidates.memories)
