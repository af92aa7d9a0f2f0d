"""All tokens in a single pass, as if they were independent of each other."""

from dataclasses import dataclass

import numpy as np

from ..proposal import RowKey
from .estimator import Estimator, Masking


@dataclass(frozen=True)
class OnePass(Estimator):
    """The product of the marginals: every token is hidden, and scored at its own position in that one pass.

    No estimate of the joint probability, unless the tokens are independent given the rest.
    """

    def num_passes(self, length: int) -> int:
        """1."""
        return 1

    def maskings(self, length: int, key: RowKey) -> list[Masking]:
        """See `Estimator.maskings`; the key is not used."""
        everything = np.arange(length, dtype=np.int64)
        return [Masking(everything, everything, 1.0)]
