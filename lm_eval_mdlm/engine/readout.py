"""From states to statistics and tokens, a fixed number of vocabulary-wide rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from ..backbones.backbone import Backbone
from ..decoding.logits import LogitRule
from ..decoding.proposal import gumbel_argmax
from ..decoding.statistics import Statistics, statistics
from ..decoding.types import Logits


BYTES_PER_ENTRY = 28
"""Peak bytes per logit while one chunk is read: the head's output, its float32 copy, the copy with forbidden tokens,
probabilities and their entropy terms in two widths; checked by `benchmarks/memory.py`."""
MOST_ROWS = 128


@dataclass(frozen=True)
class Readout:
    """Reads R rows of V logits in chunks, so that memory does not grow with batch, length or vocabulary.

    With B = 32 canvases of 400 tokens and V = 126,464 the logits of a step would be 6.0 GiB in float32; chunks keep
    all vocabulary-wide buffers together within `max_bytes`. Every chunk has the same number of rows, the last one
    filled up, because reductions over the vocabulary are summed in another order for another shape, and the last
    bits of a row's entropy would then depend on how many rows are read with it.
    """

    backbone: Backbone
    max_bytes: int = 256 * 2**20
    """Budget of all vocabulary-wide buffers of a step; one row is always read, whatever it takes."""

    @property
    def rows_per_chunk(self) -> int:
        """Rows of logits that exist at a time."""
        return min(MOST_ROWS, max(1, self.max_bytes // (BYTES_PER_ENTRY * self.backbone.vocab_size)))

    def statistics(self, rule: LogitRule, states: Float[Tensor, "S D"]) -> Statistics:
        """Statistics of R distributions on the CPU.

        Args:
            rule: Guidance and forbidden tokens, one for all rows.
            states: R conditional states, followed under guidance by the R unconditional ones.
        """
        num_rows, size = len(states) // (2 if rule.guided else 1), self.rows_per_chunk
        read = Statistics.empty(-(-num_rows // size) * size, states.device)
        for start, logits in enumerate(self._chunks(rule, states)):
            # Into one buffer: small results kept between large buffers would fragment a CPU's heap.
            read.put(start * size, statistics(logits))
        return read.first(num_rows).to("cpu")

    def sample(
        self, rule: LogitRule, states: Float[Tensor, "S D"], temperature: float, seeds: Sequence[int]
    ) -> list[int]:
        """One token per row at a temperature above 0; `seeds` has one entry per row."""
        tokens: list[Int[Tensor, " _"]] = []
        for start, logits in enumerate(self._chunks(rule, states)):
            own = seeds[start * self.rows_per_chunk : (start + 1) * self.rows_per_chunk]
            tokens.append(gumbel_argmax(logits[: len(own)], temperature, own))
        return torch.cat(tokens).tolist()

    def _chunks(self, rule: LogitRule, states: Float[Tensor, "S D"]) -> Iterator[Logits]:
        sides = [torch.split(side, self.rows_per_chunk) for side in states.chunk(2 if rule.guided else 1)]
        for chunks in zip(*sides, strict=True):
            filled = [pad(chunk, (0, 0, 0, self.rows_per_chunk - len(chunk))) for chunk in chunks]
            yield rule.apply(*map(self.backbone.head, filled))
