"""The chain rule over a fixed order of positions."""

from dataclasses import dataclass

import numpy as np

from ..proposal import RowKey
from .estimator import Estimator, Masking


@dataclass(frozen=True)
class ChainRule(Estimator):
    """Tokens one by one, left to right or right to left; positions not yet scored are masked. L passes."""

    reverse: bool = False
    """Right to left."""

    def num_passes(self, length: int) -> int:
        """L."""
        return length

    def maskings(self, length: int, key: RowKey) -> list[Masking]:
        """See `Estimator.maskings`; the key is not used."""
        order = range(length)[::-1] if self.reverse else range(length)
        return [
            Masking(np.sort(np.array(order[step:], np.int64)), np.array([position], np.int64), 1.0)
            for step, position in enumerate(order)
        ]
