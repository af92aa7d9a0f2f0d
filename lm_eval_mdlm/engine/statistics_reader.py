"""How statistics are read from a head's logits, on any device and on a GPU with Triton."""

import importlib.util
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from ..backbones.backbone import Backbone
from ..backbones.one_line import in_one_line
from ..backbones.shortage import is_out_of_memory
from ..decoding.bias import biased
from ..decoding.logits import LogitRule
from ..decoding.statistics import divergence, statistics


logger = logging.getLogger("lm_eval.mdlm")


@runtime_checkable
class StatisticsReader(Protocol):
    """Reads statistics from a head's logits, after guidance and forbidden tokens."""

    bytes_per_entry: int
    """Peak bytes per logit while one chunk of rows is read, the head's output included."""
    bytes_per_gain: int
    """Peak bytes per logit that `biased` takes beside them."""
    bytes_per_pair: int
    """As the first, per pair of logits that are compared."""
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

    def biased(
        self, rule: LogitRule, sides: Sequence[Float[Tensor, "R V"]], gains: Sequence[Mapping[int, float]]
    ) -> Float64[Tensor, "C R"]:
        """Packed statistics of every row, with something added to the logits of the first rows.

        Args:
            rule: Guidance and left out tokens.
            sides: Conditional and, under guidance, unconditional logits.
            gains: For each row its tokens and what their logits gain.
        """
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
    bytes_per_gain = 16
    """Two copies in float32, and one with gains."""
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

    def biased(
        self, rule: LogitRule, sides: Sequence[Float[Tensor, "R V"]], gains: Sequence[Mapping[int, float]]
    ) -> Float64[Tensor, "C R"]:
        """See `StatisticsReader`."""
        return statistics(biased(rule.apply(*sides), gains)).packed()

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
    except Exception as error:  # Triton passes on whatever its C compiler, linker or driver says
        if is_out_of_memory(error):
            raise
        logger.warning("Statistics are read without Triton (%s), and more slowly.", in_one_line(error))
        return PlainStatistics()
    return reader
