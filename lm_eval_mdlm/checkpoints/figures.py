"""How a loaded network behaves, in figures: what a token sees, and what company does to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..backbones.backbone import Backbone


LENGTH = 29
"""Of the canvas under test, where a token sees all of it; odd, so that nothing is aligned by chance."""
MATE_LENGTH = 19


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Changes of the first token's state, or of all states, relative to the largest state; 0 where no bit changes."""

    seen: float
    """When the last token changes that the first one is said to see: of the canvas, or of the first grid block."""
    unseen: float | None
    """When a token of a later grid block changes; None where every token sees its whole canvas."""
    mate: float
    """Of another canvas in the same pass."""
    behind_mate: float
    """Alone against behind another canvas, over all states: rounding alone."""


@torch.inference_mode()
def figures_of(backbone: Backbone) -> Figures:
    """From a few passes of at most some hundred tokens."""
    grid = backbone.grid_block
    canvas = _ids(LENGTH if grid is None else 2 * grid + 3, backbone)
    mate = _ids(MATE_LENGTH, backbone)
    states = _states(backbone, mate, canvas)
    seen_last = (len(canvas) if grid is None else grid) - 1
    with_other_seen = _states(backbone, mate, _changed(canvas, seen_last, backbone))
    with_other_last = _states(backbone, mate, _changed(canvas, len(canvas) - 1, backbone))
    first, own = slice(len(mate), len(mate) + 1), slice(len(mate), None)
    return Figures(
        seen=_difference(states[first], with_other_seen[first]),
        unseen=None if grid is None else _difference(states[first], with_other_last[first]),
        mate=_difference(states[: len(mate)], with_other_last[: len(mate)]),
        behind_mate=_difference(states[own], _states(backbone, canvas)),
    )


def _ids(length: int, backbone: Backbone) -> Int[Tensor, " {length}"]:
    ordinary = max(backbone.vocab_size // 2, 2)  # special tokens have the last ids
    return torch.arange(1, length + 1) * 7919 % ordinary


def _changed(canvas: Int[Tensor, " L"], position: int, backbone: Backbone) -> Int[Tensor, " L"]:
    other = canvas.clone()
    other[position] = (other[position] + 1) % backbone.vocab_size
    return other


def _states(backbone: Backbone, *canvases: Int[Tensor, " _"]) -> Float[Tensor, "T D"]:
    lengths: Sequence[int] = [len(canvas) for canvas in canvases]
    return backbone.states(torch.cat(canvases), lengths, torch.arange(sum(lengths))).float()


def _difference(ours: Float[Tensor, "n D"], theirs: Float[Tensor, "n D"]) -> float:
    return float((ours - theirs).abs().max() / ours.abs().max())
