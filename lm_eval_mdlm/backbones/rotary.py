"""Cosines and sines of the rotary embedding, computed once per position."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


CHUNK = 4096
"""Positions computed together; a fixed number, so that the same position always gets the same bits."""


class RotaryTable:
    """A table of a network's own rotary embedding; grows by whole chunks when a longer canvas comes."""

    def __init__(self, rotary: nn.Module, *, dtype: torch.dtype, device: torch.device) -> None:
        """Take over `rotary`, a transformers module from (dtype carrier, position ids) to (cos, sin), as `dtype`."""
        self._rotary, self.device = rotary, device
        self._carrier = torch.empty(0, dtype=dtype, device=device)
        self._cos: list[Float[Tensor, "P D"]] = []
        self._sin: list[Float[Tensor, "P D"]] = []
        self._table = (self._carrier, self._carrier)

    def up_to(self, longest: int) -> tuple[Float[Tensor, "P D"], Float[Tensor, "P D"]]:
        """Cosines and sines of at least `longest` positions."""
        if longest > len(self._cos) * CHUNK:
            self._grow(longest)
        return self._table

    def at(
        self, position_ids: Int[Tensor, " T"], longest: int
    ) -> tuple[Float[Tensor, "1 T D"], Float[Tensor, "1 T D"]]:
        """Cosines and sines at `position_ids`, all of them below `longest`."""
        cos, sin = self.up_to(longest)
        return cos[position_ids][None], sin[position_ids][None]

    def _grow(self, longest: int) -> None:
        for start in range(len(self._cos) * CHUNK, longest, CHUNK):
            positions = torch.arange(start, start + CHUNK, device=self._carrier.device)[None]
            cos, sin = self._rotary(self._carrier, position_ids=positions)
            self._cos.append(cos[0])
            self._sin.append(sin[0])
        self._table = (torch.cat(self._cos), torch.cat(self._sin))
