"""From states to statistics and tokens, a limited number of vocabulary-wide rows at a time."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import pad

from ..backbones.backbone import Backbone
from ..decoding.bias import biased
from ..decoding.logits import LogitRule
from ..decoding.look import Reader
from ..decoding.proposal import gumbel_argmax
from ..decoding.restriction import Draw, restricted
from ..decoding.transfer import on_device
from .statistics_reader import PlainStatistics, StatisticsReader, reader_for


SHARE_KEPT = 1 / 8
"""Of the budget of vocabulary-wide buffers, what logits may take beside it that are kept for a second look."""


@dataclass(frozen=True)
class Readout:
    """Reads R rows of V logits in chunks, so that memory does not grow with batch, length or vocabulary.

    With B = 32 canvases of 400 tokens and V = 126,464 the logits of a step would be 6.0 GiB in float32; chunks keep
    all vocabulary-wide buffers together within `max_bytes`.
    """

    backbone: Backbone
    max_bytes: int = 256 * 2**20
    """Budget of all vocabulary-wide buffers of a step; one row is always read, whatever it takes."""

    @functools.cached_property
    def reader(self) -> StatisticsReader:
        """How statistics are read on the backbone's device."""
        return reader_for(self.backbone)

    @property
    def rows_per_chunk(self) -> int:
        """Rows of logits that exist at a time."""
        return self._rows_at_once(self.reader)

    def _rows_at_once(
        self, reader: StatisticsReader, rule: LogitRule | None = None, bytes_per_entry: int | None = None
    ) -> int:
        sides = 2 if rule is not None and rule.guided else 1
        per_row = sides * (bytes_per_entry or reader.bytes_per_entry) * self.backbone.vocab_size
        return min(reader.most_rows, max(1, self.max_bytes // per_row))

    def statistics(
        self, rule: LogitRule, states: Float[Tensor, "S D"], targets: Int[Tensor, " R"] | None = None
    ) -> Float64[Tensor, "C R"]:
        """Packed statistics of R distributions on the CPU.

        Args:
            rule: Guidance and left out tokens, one for all rows.
            states: R conditional states, followed under guidance by the R unconditional ones.
            targets: For each row a token whose log-probability is wanted too; may be on the host.
        """
        return self.enqueue(rule, states, targets)[0].cpu()

    def enqueue(
        self,
        rule: LogitRule,
        states: Float[Tensor, "S D"],
        targets: Int[Tensor, " R"] | None = None,
        *,
        keep: bool = False,
    ) -> tuple[Float64[Tensor, "C R"], tuple[Float[Tensor, "R V"], ...]]:
        """The same on the device, without a wait, and the logits themselves.

        Args:
            rule: As for `statistics`, as the next two.
            states: See there.
            targets: See there.
            keep: Whether logits are wanted; where they would take too much none are returned.
        """
        num_rows, size = len(states) // (2 if rule.guided else 1), self._rows_at_once(self.reader, rule)
        num_chunks = -(-num_rows // size)
        if targets is not None:
            targets = pad(on_device(targets, states.device), (0, num_chunks * size - num_rows))
        # Into one buffer: small results kept between large buffers would fragment a CPU's heap.
        num_columns = 5 if targets is None else 6
        read = torch.empty(num_columns, num_chunks * size, dtype=torch.float64, device=states.device)
        keep = keep and num_chunks == 1 and self._may_keep(len(states))
        kept: tuple[Float[Tensor, "R V"], ...] = ()
        for i, chunks in enumerate(self._chunks(rule, states, size, self.reader)):
            own = None if targets is None else targets[i * size : i * size + len(chunks[0])]
            packed = self.reader(rule, chunks[0], chunks[1] if rule.guided else None, own)
            read[:, i * size : i * size + packed.shape[1]] = packed
            kept = tuple(chunks) if keep else ()
        return read[:, :num_rows], kept

    def _may_keep(self, num_logits: int) -> bool:
        """Whether so many rows of logits take little, and are what the head would give in any other company.

        A reader whose rows may be of any number relies on the latter already.
        """
        return (
            not self.reader.fixed_rows
            and num_logits * self.backbone.vocab_size * self.backbone.dtype.itemsize <= self.max_bytes * SHARE_KEPT
        )

    def sample(
        self,
        rule: LogitRule,
        states: Float[Tensor, "S D"],
        draws: Sequence[Draw],
        gains: Sequence[Mapping[int, float]] | None = None,
    ) -> list[int]:
        """One token per row, each drawn as its entry of `draws` says. Waits for the device once.

        Args:
            rule: Guidance and left out tokens, one for all rows.
            states: R conditional states, followed under guidance by the R unconditional ones.
            draws: One per row.
            gains: For each row what is added to some tokens' logits; None for nothing.
        """
        tokens: list[Int[Tensor, " _"]] = []
        reader = PlainStatistics()  # samples need the logits themselves, in float32
        size = self._rows_at_once(reader, rule)
        for start, chunks in enumerate(self._chunks(rule, states, size, reader)):
            own = draws[start * size : (start + 1) * size]
            logits = rule.apply(*(chunk[: len(own)] for chunk in chunks))
            if gains is not None:
                logits = biased(logits, gains[start * size : start * size + len(own)])
            tokens.append(gumbel_argmax(restricted(logits, own), [d.temperature for d in own], [d.seed for d in own]))
        return torch.cat(tokens).tolist()

    def biased_statistics(
        self, rule: LogitRule, states: Float[Tensor, "S D"], gains: Sequence[Mapping[int, float]]
    ) -> Float64[Tensor, "C R"]:
        """Packed statistics of R distributions with something added to their logits, on the CPU.

        Args:
            rule: Guidance and left out tokens, one for all rows.
            states: R conditional states, followed under guidance by the R unconditional ones.
            gains: For each row what is added to some tokens' logits.
        """
        size = self._rows_at_once(self.reader, rule, self.reader.bytes_per_entry + self.reader.bytes_per_gain)
        found = []
        for number, chunks in enumerate(self._chunks(rule, states, size, self.reader)):
            own = gains[number * size : (number + 1) * size]
            found.append(self.reader.biased(rule, chunks, own)[:, : len(own)])
        return torch.cat(found, dim=1).cpu()

    def biased(
        self, rule: LogitRule, sides: Sequence[Float[Tensor, "R V"]], gains: Sequence[Mapping[int, float]]
    ) -> Float64[Tensor, "C R"]:
        """The same from logits that were kept."""
        return self.reader.biased(rule, sides, gains).cpu()

    def divergence(
        self, rule: LogitRule, states: Float[Tensor, "S D"], before: Float[Tensor, "S D"]
    ) -> Float[Tensor, " R"]:
        """KL divergence of R distributions from those of as many other states, nats, on the CPU."""
        return self.enqueue_divergence(rule, states, before).cpu()

    def enqueue_divergence(
        self, rule: LogitRule, states: Float[Tensor, "S D"], before: Float[Tensor, "S D"]
    ) -> Float[Tensor, " R"]:
        """The same on the device, without a wait."""
        size = self._rows_at_once(self.reader, rule, self.reader.bytes_per_pair)
        sides = 2 if rule.guided else 1
        together = torch.cat([states, before])
        found = []
        # The head reads all its weights at every call, so that few rows are better read with those before them.
        for start in range(0, len(states) // sides, size):
            chunks = [side[start : start + size] for side in together.chunk(2 * sides)]
            missing = size - len(chunks[0]) if self.reader.fixed_rows else 0
            logits = self.backbone.head(torch.cat([pad(chunk, (0, 0, 0, missing)) for chunk in chunks]))
            own = logits.chunk(2 * sides)
            found.append(self.reader.divergence(rule, own[:sides], own[sides:]))
        return torch.cat(found)[: len(states) // sides]

    def look(
        self,
        rule: LogitRule,
        states: Float[Tensor, "S D"],
        reader: Reader,
        entries: Sequence[int],
        bytes_per_entry: int,
    ) -> Float64[Tensor, "C R"]:
        """Columns of R distributions on the CPU, by a reader of the caller's.

        Args:
            rule: Guidance and left out tokens, one for all rows.
            states: R conditional states, followed under guidance by the R unconditional ones.
            reader: Gets a fixed number of rows at a time; what it says of rows beyond `entries` is dropped.
            entries: A number of the caller's for every row.
            bytes_per_entry: Peak bytes per logit while the reader works, its argument included.
        """
        plain, found = PlainStatistics(), []
        size = self._rows_at_once(plain, rule, bytes_per_entry)
        for number, chunks in enumerate(self._chunks(rule, states, size, plain)):
            own = entries[number * size : (number + 1) * size]
            found.append(reader(rule.apply(*chunks), own)[:, : len(own)])
        return torch.cat(found, dim=1).cpu()

    def _chunks(
        self, rule: LogitRule, states: Float[Tensor, "S D"], size: int, reader: StatisticsReader
    ) -> Iterator[list[Float[Tensor, "R V"]]]:
        """Logits of up to `size` rows, once or, under guidance, twice."""
        for chunks in zip(*(torch.split(side, size) for side in states.chunk(2 if rule.guided else 1)), strict=True):
            missing = size - len(chunks[0]) if reader.fixed_rows else 0
            yield [self.backbone.head(pad(chunk, (0, 0, 0, missing)) if missing else chunk) for chunk in chunks]
