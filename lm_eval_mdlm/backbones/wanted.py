"""The tokens of a pass whose states are read: all that the last layer has to compute beside its keys and values."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from .layout import Layout


@dataclass(frozen=True, kw_only=True)
class WantedRows:
    """Rows of the last layer, canvas after canvas, each of them one token of the pass."""

    tokens: Int[Tensor, " N"]
    """Token of each row, ascending; the last token of the pass fills up, as often as it takes."""
    starts: Int[Tensor, " boundaries"]
    """First row of each canvas, some without any, and, last, the number of rows; int32."""
    longest: int
    """At least the most rows of a canvas."""

    @classmethod
    def of(cls, tokens: Int[Tensor, " U"], layout: Layout, num_rows: int) -> "WantedRows":
        """Lay out, on the host, ascending distinct tokens, and fill up to `num_rows`."""
        filled = pad(tokens, (0, num_rows - len(tokens)), value=len(layout.position_ids) - 1)
        starts = torch.searchsorted(filled, layout.starts.long(), out_int32=True)
        return cls(tokens=filled, starts=starts, longest=int(starts.diff().max()))

    def to(self, device: torch.device) -> "WantedRows":
        """The same on a device."""
        tokens, starts = (part.to(device, non_blocking=True) for part in (self.tokens, self.starts))
        return replace(self, tokens=tokens, starts=starts)


def distinct(wanted: Int[Tensor, " R"]) -> tuple[Int[Tensor, " U"], Int[Tensor, " R"]]:
    """The wanted tokens, ascending and each once; and, of each wanted one, its place among them."""
    tokens, places = torch.unique(wanted, return_inverse=True)
    return tokens, places
