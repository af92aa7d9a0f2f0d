"""What the engine asks a network, and what it learns: plain data, that knows of no policy, text or estimate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.logits import LogitRule
from .kept import Comparison


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One job's part in a pass."""

    canvases: Sequence[NDArray[np.int64]]
    """Token ids (L,): one canvas, or under guidance the conditional and the unconditional one."""
    wanted: NDArray[np.int64]
    """Positions in the canvas whose distributions are asked for, ascending."""
    rule: LogitRule
    """Guidance, and tokens that are left out of the distributions."""
    targets: NDArray[np.int64] | None = None
    """For each wanted position the token whose log-probability is asked for; None if none is."""
    recomputed: NDArray[np.int64] | None = None
    """Positions that the pass computes, ascending, while all others stay as earlier passes left them in the job's
    slots; None where nothing is kept between passes."""

    looked_at: bool = False
    """Whether the distributions will be read again, so that logits are better kept where they take little."""
    compared: Comparison | None = None
    """What is compared with the pass before; None for nothing."""

    @property
    def num_rows(self) -> int:
        """States that the pass has to give, of all canvases together."""
        return len(self.wanted) * len(self.canvases)


COLUMNS = ("entropy", "confidence", "margin", "logit_gap", "argmax", "log_prob")
"""Of a reading, in the order of packed statistics."""
ALL_COLUMNS = (*COLUMNS, "divergence")


@dataclass(frozen=True, eq=False)
class Reading:
    """What one pass says: numbers at the wanted positions of several jobs, job after job."""

    entropy: NDArray[np.float32]
    """Nats."""
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    logit_gap: NDArray[np.float32]
    argmax: NDArray[np.int64]
    log_prob: NDArray[np.float32]
    """Of the targets, nats; NaN where none was named."""
    divergence: NDArray[np.float32]
    """KL divergence from the pass before, nats; NaN where nothing was compared."""
    ends: list[int]
    """Where each job's numbers end; the first entry, 0, is where they begin."""
    states: list[Float[Tensor, "_ D"]]
    """Of each job, on the device; under guidance the unconditional states follow the conditional ones."""
    logits: list[tuple[Float[Tensor, "_ V"], ...]]
    """Of each job what the head gave, on the device, once or, under guidance, twice; empty where it was not kept."""

    def at(self, job: int) -> slice:
        """Where the numbers of a job are."""
        return slice(self.ends[job], self.ends[job + 1])

    def places(self, members: Sequence[int]) -> Any:
        """Where the numbers of several jobs, in ascending order, are."""
        if len(members) + 1 == len(self.ends):
            return slice(None)
        return np.concatenate([np.arange(self.ends[i], self.ends[i + 1]) for i in members])

    def replaced(self, columns: Mapping[str, NDArray[Any]]) -> "Reading":
        """The same with some columns exchanged."""
        return replace(self, **columns) if columns else self  # type: ignore[arg-type]

    def one(self, job: int) -> "Reading":
        """The reading of one job; its numbers are views."""
        at = self.at(job)
        columns = {name: getattr(self, name)[at] for name in ALL_COLUMNS}
        ends = [0, at.stop - at.start]
        return Reading(**columns, ends=ends, states=[self.states[job]], logits=[self.logits[job]])

    def of(self, members: Sequence[int]) -> "Reading":
        """The reading of some of the jobs, in ascending order."""
        if len(members) + 1 == len(self.ends):
            return self
        places = self.places(members)
        ends = np.cumsum([0, *(self.ends[i + 1] - self.ends[i] for i in members)]).tolist()
        columns = {name: getattr(self, name)[places] for name in ALL_COLUMNS}
        states, logits = [self.states[i] for i in members], [self.logits[i] for i in members]
        return Reading(**columns, ends=ends, states=states, logits=logits)
