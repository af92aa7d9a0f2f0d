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

    def at(self, positions: NDArray[np.int64]) -> "Past":
        """Of some of its positions."""
        return Past(self.states.at(positions), self.runs[np.searchsorted(self.states.positions, positions)])


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
        goes_on = (candidates.block_step > 0).tolist()
        pasts = [
            memory.at(states.positions) if known else Past(states, np.zeros(len(states.positions), dtype=np.int64))
            for known, memory, states in zip(goes_on, candidates.memories, look.states, strict=True)
        ]
        runs = [past.runs for past in pasts]
        if any(goes_on):
            divergences = look.divergence([past.states for past in pasts])
            latest = np.split(divergences, np.cumsum([len(own) for own in runs])[:-1])
            runs = [
                np.where(moved < self.kl_threshold, own + 1, 0) if known else own
                for known, own, moved in zip(goes_on, runs, latest, strict=True)
            ]
        memories = tuple(Past(states, own) for states, own in zip(look.states, runs, strict=True))
        return replace(candidates, memories=memories)

    def decide(self, candidates: Candidates) -> Decision:
        stable = torch.zeros_like(candidates.eligible)
        runs = np.concatenate([memory.runs for memory in candidates.memories])
        stable[candidates.eligible] = torch.from_numpy(runs >= self.history)
        ready = stable & (candidates.confidence > self.confidence_threshold)
        best = ranks(by_confidence(candidates), candidates.eligible) == 0
        commit = ready | (best & candidates.eligible & ~ready.any(dim=-1, keepdim=True))
        return Decision(commit, candidates.memories)
