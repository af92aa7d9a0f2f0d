"""The forward passes of a decoding run, written down once and run again bare: what the engine's time is held against.

Clocks inside a run would need a wait after every pass, or change which kernels the engine may join. So one run that is
not timed is written down, later runs go unobserved, and between them the same passes are run one after the other with
nothing in between. A run's time less that is what the engine spends outside its forward passes.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from lm_eval_mdlm.backbones.backbone import Backbone


HEAD_ROWS = 4096
"""Most rows of logits that a bare pass makes at a time: one piece for all but the largest passes."""


@dataclass(frozen=True)
class Pass:
    """The arguments of one `Backbone.states`, on the host as the engine gives them."""

    token_ids: Tensor
    lengths: tuple[int, ...]
    wanted: Tensor


@contextmanager
def recorded(backbone: Backbone) -> Iterator[list[Pass]]:
    """The passes of `backbone` while the context is open, in a list that grows."""
    passes: list[Pass] = []
    original = backbone.states

    def states(token_ids: Tensor, lengths: Sequence[int], wanted: Tensor, *rest: Any, **options: Any) -> Tensor:
        # Copies, because the caller may use the same buffers for its next pass.
        passes.append(Pass(token_ids.clone(), tuple(lengths), wanted.clone()))
        return original(token_ids, lengths, wanted, *rest, **options)

    with mock.patch.object(backbone, "states", states):
        yield passes


def bare_pass(backbone: Backbone, one: Pass) -> None:
    """States and logits of one pass, thrown away."""
    states = backbone.states(one.token_ids, one.lengths, one.wanted)
    for rows in torch.split(states, HEAD_ROWS):
        backbone.head(rows)


def replay(backbone: Backbone, passes: Sequence[Pass]) -> None:
    """All passes, one after the other."""
    for one in passes:
        bare_pass(backbone, one)


def random_prompts(lengths: Sequence[int], vocab: int, seed: int = 0) -> list[list[int]]:
    """Prompts of these lengths without the special tokens, which are the last two of a random network."""
    draw = random.Random(seed)
    return [draw.choices(range(vocab - 2), k=length) for length in lengths]


def spread_lengths(span: Sequence[int], number: int) -> list[int]:
    """`number` lengths from the shortest to the longest of `span`, in a fixed order without a trend."""
    shortest, longest = span
    lengths = [shortest + (longest - shortest) * i // max(number - 1, 1) for i in range(number)]
    random.Random(0).shuffle(lengths)
    return lengths
