"""A few small passes that find the fastest way to run an encoder's canvases together without changing them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..backbones.encoder import EncoderBackbone
from ..backbones.grouping import Grouping
from ..errors import UsageError
from .probe import TOLERANCE


EQUAL_IN_COMPANY = (
    *("albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "esm", "eurobert", "modernbert", "mpnet"),
    *("roberta", "xlm-roberta"),
)
"""Model types whose rows have been found to be the same beside any number of others on a CPU, bit by bit
(tests/checkpoints/test_encoders.py); others run canvas by canvas there."""
MULTIPLE = 16
"""Of lengths on a GPU: a length has few others to share a pass with, and little padding."""
LENGTH = 31
"""Tokens of the input under test; odd, so that nothing is aligned by chance."""
MATES = {"cpu": (1, 5, 10, 15)}
"""Numbers of mates beside it, by kind of device."""
MOST_TOKENS = (MATES["cpu"][-1] + 1) * LENGTH
"""Of a pass on a CPU: of no larger one is it known whether several threads share its products as they do in a smaller
one, and larger ones would only lose to the CPU's caches."""
MORE_MATES = (1, 3, 7, 31, 100)
"""The same for all other kinds."""


def choose_grouping(backbone: EncoderBackbone, model_type: str, source: str) -> None:
    """Set `backbone.grouping`, and say in the description whether rows keep their bits in company.

    On a CPU rows keep their bits, or run alone. On a GPU canvases share passes if that changes no more than rounding.

    Raises:
        UsageError: If the network answers the same question in two ways, or returns NaN.
    """
    backbone.grouping = Grouping(alone=True)
    alone = _states(backbone, [_canvas(backbone, 0)])
    if not bool(alone.isfinite().all()):
        raise UsageError(
            f"{source}: the network must return numbers, but returns NaN or infinities as {backbone.dtype} although "
            f"its weights are finite; use dtype=bfloat16 or float32."
        )
    if not torch.equal(alone, _states(backbone, [_canvas(backbone, 0)])):
        raise UsageError(f"{source}: the network must answer alike each time, but it draws at random.")
    independent = True
    for grouping in _candidates(backbone.device, model_type):
        backbone.grouping = grouping
        close, equal = _compared(backbone, alone)
        if equal or (close and backbone.device.type != "cpu"):
            independent = equal
            break
    else:
        backbone.grouping = Grouping(alone=True)
    backbone.description = {**backbone.description, "rows_are_bitwise_independent": independent}


def _candidates(device: torch.device, model_type: str) -> tuple[Grouping, ...]:
    """The fastest first."""
    if device.type == "cpu":
        return (Grouping(most_tokens=MOST_TOKENS),) if model_type in EQUAL_IN_COMPANY else ()
    return Grouping(multiple=MULTIPLE), Grouping()


def _compared(backbone: EncoderBackbone, alone: Float[Tensor, "T D"]) -> tuple[bool, bool]:
    """Whether the canvas's states are nearly those that it has by itself, and whether mates change no bit of them."""
    canvas = _canvas(backbone, 0)
    reference = _states(backbone, [canvas])
    close, equal = _near(reference, alone), True
    for number in MATES.get(backbone.device.type, MORE_MATES):
        mates = [_canvas(backbone, 1 + place) for place in range(number)]
        if backbone.grouping.multiple is not None:  # then mates of other lengths stand in the same rectangle
            mates = [mate[: len(mate) - place % 4] for place, mate in enumerate(mates)]
        for place in {0, number} if number < 6 else {number}:
            found = _states(backbone, [*mates[:place], canvas, *mates[place:]], place)
            close, equal = close and _near(found, alone), equal and torch.equal(found, reference)
    return close, close and equal


def _near(found: Float[Tensor, "T D"], alone: Float[Tensor, "T D"]) -> bool:
    return bool((found - alone).abs().max() <= TOLERANCE * alone.abs().max())


def _canvas(backbone: EncoderBackbone, seed: int) -> Int[Tensor, " _"]:
    ordinary = backbone.vocab_size // 2  # special tokens have the last ids in some tokenizers
    length = LENGTH - len(backbone.canvas_prefix) - len(backbone.canvas_suffix)
    return (torch.arange(1, length + 1) * 7919 + 31 * seed) % ordinary


def _states(backbone: EncoderBackbone, canvases: list[Int[Tensor, " _"]], place: int = 0) -> Float[Tensor, "T D"]:
    """States of the canvas at `place`, as float32."""
    lengths = [len(canvas) for canvas in canvases]
    start = sum(lengths[:place])
    return backbone.states(torch.cat(canvases), lengths, torch.arange(start, start + lengths[place])).float()
