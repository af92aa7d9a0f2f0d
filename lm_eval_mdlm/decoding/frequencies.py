"""How often each token of a vocabulary stands in some texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from .types import PerPosition, Positions


@dataclass(frozen=True, eq=False)
class TokenFrequencies:
    """Counts of tokens; two with the same digest are the same."""

    digest: str
    """Of the next three."""
    vocabulary: str
    """Digest of the tokens and ids that were counted."""
    total: int
    """Tokens counted, at least 1."""
    counts: Mapping[int, int]
    """By id, of tokens that were seen."""
    path: str = ""
    """Of the file that they came from, to name it by."""

    def __str__(self) -> str:
        return self.path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenFrequencies) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def _table(self) -> Float64[Tensor, " ids"]:
        """The last entry stands for all ids behind it."""
        table = torch.ones(max(self.counts) + 2, dtype=torch.float64)  # unseen tokens count as one
        table[list(self.counts)] = torch.tensor(list(self.counts.values()), dtype=torch.float64)
        return table / self.total

    def of(self, tokens: Positions) -> PerPosition:
        """Relative frequencies, 1 / total for unseen tokens; float64."""
        frequencies: PerPosition = self._table[tokens.clamp(max=len(self._table) - 1)]
        return frequencies
