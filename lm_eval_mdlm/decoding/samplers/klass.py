"""A rule that waits until a position's distribution has stopped moving."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..look import Look, States
from ..policy import Decision, DecodingPolicy
from ..scores import Candidates, by_confidence, ranks


@dataclass(frozen=True, eq=False)
class Past:
    """What a row remembers of a pass over its current block."""

    states: States
    """Of the positions that were eligible then."""
    runs: NDArray[np.int64]
    """(positions,) for how many passes in a row they had hardly changed."""

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The runs of some of its positions."""
        return self.runs[np.searchsorted(self.states.positions, positions)]


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
    def depends_on_distributions_alone(self) -> bool:
        return True  # on those of earlier passes, too

    def look(self, look: Look, candidates: Candidates) -> Candidates:
        states = look.states
        # The first pass of a block has no other before it: nothing has been stable yet.
        pasts = [
            memory if step else None for step, memory in zip(candidates.block_step, candidates.memories, strict=True)
        ]
        runs = [np.zeros(len(own.positions), dtype=np.int64) for own in states]
        if any(pasts):
            pairs = zip(pasts, states, strict=True)
            divergences = look.divergence(
                [own if past is None else past.states.at(own.positions) for past, own in pairs]
            )
            latest = np.split(divergences, np.cumsum([len(own) for own in runs])[:-1])
            runs = [
                own if past is None else np.where(moved < self.kl_threshold, past.at(now.positions) + 1, 0)
                for past, own, now, moved in zip(pasts, runs, states, latest, strict=True)
            ]
        return replace(candidates, memories=tuple(map(Past, states, runs)))

    def decide(self, candidates: Candidates) -> Decision:
        runs = torch.zeros_like(candidates.position)
        for row, (memory, own) in enumerate(zip(candidates.memories, candidates.eligible, strict=True)):
            # By position: what was eligible at the look may have been narrowed down since.
            runs[row, own] = torch.from_numpy(memory.at(candidates.position[row, own].numpy()))
        ready = candidates.eligible & (runs >= self.history) & (candidates.confidence > self.confidence_threshold)
        best = ranks(by_confidence(candidates), candidates.eligible) == 0
        commit = ready | (best & candidates.eligible & ~ready.any(dim=-1, keepdim=True))
        return Decision(commit, candidates.memories)
