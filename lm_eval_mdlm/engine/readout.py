"""From states to statistics and tokens, a limited number of vocabulary-wide rows at a time."""

import functools
import importlib.util
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import pad

from ..backbones.backbone import Backbone
from ..backbones.body import in_one_line
from ..decoding.bias import biased
from ..decoding.logits import LogitRule
from ..decoding.look import Reader
from ..decoding.proposal import gumbel_argmax
from ..decoding.restriction import Draw, restricted
from ..decoding.statistics import divergence, statistics


logger = logging.getLogger("lm_eval.mdlm")
AS_IT_IS = LogitRule(())
BYTES_OF_BIAS = 16
"""Peak bytes per logit that a bias takes beside a reader's own: two copies in float32, and one with gains."""


@runtime_checkable
class StatisticsReader(Protocol):
    """Reads statistics from a head's logits, after guidance and forbidden tokens."""

    bytes_per_entry: int
    """Peak bytes per logit while one chunk of rows is read, the head's output included."""
    bytes_per_pair: int
    """The same per pair of logits that are compared."""
    most_rows: int
    """Rows from which reading more together is no faster."""
    fixed_rows: bool
    """Whether every call must have the same number of rows for a row's bits not to depend on it."""

    def __call__(
        self,
        rule: LogitRule,
        conditional: Float[Tensor, "R V"],
        unconditional: Float[Tensor, "R V"] | None = None,
        targets: Int[Tensor, " R"] | None = None,
    ) -> Float64[Tensor, "C R"]:
        """Packed statistics of every row; with `targets` their log-probabilities too."""
        ...

    def divergence(
        self, rule: LogitRule, sides: Sequence[Float[Tensor, "R V"]], before: Sequence[Float[Tensor, "R V"]]
    ) -> Float[Tensor, " R"]:
        """KL divergence of every row's distribution from the one before it, nats.

        Args:
            rule: Applied to both.
            sides: Conditional and, under guidance, unconditional logits.
            before: As many.
        """
        ...


class PlainStatistics:
    """The reader for any device, in torch's own operations.

    Reductions over the vocabulary are summed in another order for another shape, so the number of rows is fixed.
    """

    bytes_per_entry = 28
    """The head's output, its float32 copy, the copy with forbidden tokens, probabilities and their entropy terms in
    two widths; checked by `benchmarks/memory.py`."""
    bytes_per_pair = 72
    """The same of two distributions, whose log-probabilities, their difference and its terms are all in float64."""
    most_rows = 128
    fixed_rows = True

    def __call__(
        self,
        rule: LogitRule,
        conditional: Float[Tensor, "R V"],
        unconditional: Float[Tensor, "R V"] | None = None,
        targets: Int[Tensor, " R"] | None = None,
    ) -> Float64[Tensor, "C R"]:
        return statistics(rule.apply(conditional, unconditional), targets).packed()

    def divergence(
        self, rule: LogitRule, sides: Sequence[Float[Tensor, "R V"]], before: Sequence[Float[Tensor, "R V"]]
    ) -> Float[Tensor, " R"]:
        """See `StatisticsReader`."""
        return divergence(rule.apply(*sides), rule.apply(*before))


def reader_for(backbone: Backbone) -> StatisticsReader:
    """The fastest reader that the backbone's device has; a line says so where its kernel cannot be built."""
    if backbone.device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return PlainStatistics()
    try:
        from ..decoding.fused_statistics import FusedStatistics  # its kernel needs Triton, which only GPU builds bring

        reader = FusedStatistics(backbone.vocab_size, backbone.dtype, backbone.device)
        logits = torch.zeros(1, backbone.vocab_size, dtype=backbone.dtype, device=backbone.device)
        target = torch.zeros(1, dtype=torch.long, device=backbone.device)
        for scale, targets in itertools.product((0.0, 1.0), (None, target)):  # each is a kernel of its own
            reader(LogitRule((), scale), logits, logits if scale else None, targets)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton passes on whatever its C compiler, linker or driver says
        logger.warning("Statistics are read without Triton (%s), and more slowly.", in_one_line(error))
        return PlainStatistics()
    return reader


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
        num_rows, size = len(states) // (2 if rule.guided else 1), self._rows_at_once(self.reader, rule)
        num_chunks = -(-num_rows // size)
        if targets is not None:
            targets = pad(targets.to(states.device, non_blocking=True), (0, num_chunks * size - num_rows))
        # Into one buffer: small results kept between large buffers would fragment a CPU's heap.
        num_columns = 5 if targets is None else 6
        read = torch.empty(num_columns, num_chunks * size, dtype=torch.float64, device=states.device)
        for i, chunks in enumerate(self._chunks(rule, states, size, self.reader)):
            own = None if targets is None else targets[i * size : i * size + len(chunks[0])]
            packed = self.reader(rule, chunks[0], chunks[1] if rule.guided else None, own)
            read[:, i * size : i * size + packed.shape[1]] = packed
        return read[:, :num_rows].cpu()  # the one wait for the device in a step

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
        size = self._rows_at_once(self.reader, rule, self.reader.bytes_per_entry + BYTES_OF_BIAS)
        found = []
        for number, chunks in enumerate(self._chunks(rule, states, size, self.reader)):
            own = gains[number * size : (number + 1) * size]
            found.append(self.reader(AS_IT_IS, biased(rule.apply(*chunks), own))[:, : len(own)])
        return torch.cat(found, dim=1).cpu()

    def divergence(
        self, rule: LogitRule, states: Float[Tensor, "S D"], before: Float[Tensor, "S D"]
    ) -> Float[Tensor, " R"]:
        """KL divergence of R distributions from those of as many other states, nats, on the CPU."""
        size = self._rows_at_once(self.reader, rule, self.reader.bytes_per_pair)
        both = (self._chunks(rule, own, size, self.reader) for own in (states, before))
        found = [self.reader.divergence(rule, *pair) for pair in zip(*both, strict=True)]
        return torch.cat(found)[: len(states) // (2 if rule.guided else 1)].cpu()

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
            yield [self.backbone.head(pad(chunk, (0, 0, 0, missing))) for chunk in chunks]
