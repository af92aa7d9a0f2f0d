"""From states to statistics and tokens, a bounded number of vocabulary-wide rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..backbones.backbone import Backbone
from ..decoding.logits import LogitRule
from ..decoding.proposal import gumbel_argmax
from ..decoding.statistics import Statistics, statistics
from ..decoding.types import Logits


BYTES_PER_ENTRY = 20
"""Peak bytes per logit while one chunk is read: the head's output, its float32 copy, the copy with forbidden tokens,
probabilities and their entropy terms; checked by `benchmarks/memory.py`."""


@dataclass(frozen=True)
class Readout:
    """Reads R rows of V logits in chunks, so that memory does not grow with batch, length or vocabulary.

    With B = 32 canvases of 400 tokens and V = 126,464 the logits of a step would be 6.0 GiB in float32; chunks keep
    all vocabulary-wide buffers together within `max_bytes`.
    """

    backbone: Backbone
    max_bytes: int = 256 * 2**20
    """Budget of all vocabulary-wide buffers of a step; one row is always read, whatever it takes."""

    @property
    def rows_per_chunk(self) -> int:
        """Rows of logits that exist at a time."""
        return max(1, self.max_bytes // (BYTES_PER_ENTRY * self.backbone.vocab_size))

    def statistics(self, rule: LogitRule, states: Float[Tensor, "S D"]) -> Statistics:
        """Statistics of R distributions on the CPU.

        Args:
            rule: Guidance and forbidden tokens, one for all rows.
            states: R conditional states, followed under guidance by the R unconditional ones.
        """
        return Statistics.cat([statistics(logits) for logits in self._chunks(rule, states)]).to("cpu")

    def sample(
        self, rule: LogitRule, states: Float[Tensor, "S D"], temperature: float, seeds: Sequence[int]
    ) -> list[int]:
        """One token per row at a temperature above 0; `seeds` has one entry per row."""
        tokens: list[Int[Tensor, " _"]] = []
        done = 0
        for logits in self._chunks(rule, states):
            tokens.append(gumbel_argmax(logits, temperature, seeds[done : done + len(logits)]))
            done += len(logits)
        return torch.cat(tokens).tolist()

    def _chunks(self, rule: LogitRule, states: Float[Tensor, "S D"]) -> Iterator[Logits]:
        size = self.rows_per_chunk
        if not rule.guided:
            yield from (rule.apply(self.backbone.head(chunk)) for chunk in torch.split(states, size))
            return
        conditional, unconditional = states.chunk(2)
        for pair in zip(torch.split(conditional, size), torch.split(unconditional, size), strict=True):
            yield rule.apply(*map(self.backbone.head, pair))
