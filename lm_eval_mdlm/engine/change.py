"""What a pass does to a row: decided for many rows together, and only then carried out."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kept import Kept


NOWHERE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Change:
    """What a pass does to a row."""

    positions: NDArray[np.int64]
    """In the region, that take a token: they are committed, or their token is replaced."""
    tokens: NDArray[np.int64]
    """That they take."""
    remasked: NDArray[np.int64] = field(default_factory=lambda: NOWHERE)
    """In the region, that become masks again."""
    answer_entropy: float | None = None
    """Of the pass, nats; None without an answer to decode."""
    exited: bool = False
    """Whether the answer's certainty ends the row."""
    log_probs: NDArray[np.float32] | None = None
    """Of the wanted positions' targets, nats; None where none were asked for."""
    memory: Any = None
    """Of the policy."""
    exit_memory: Any = None
    """Of the exit rule."""
    kept: Kept | None = None
    """Distributions that the next pass is compared with; None where nothing is compared."""
