"""Which way of reading a checkpoint predicts text best: the declared one, or another grid, visibility or shift.

Canvases are a stretch of text and then nothing but masks, and the first masked tokens are scored. So whatever a token
may see beyond them are masks, which tell nothing: a reading wins only by being the one that training had.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..backbones.backbone import Backbone
from ..backbones.shortage import is_out_of_memory


GRIDS = (None, 1, 4, 8, 16, 32)
"""Visibilities that are tried: the whole canvas, earlier tokens alone, and the grid blocks of published checkpoints."""
STRETCHES = (32, 64)
"""Tokens of text before the masks: whole blocks of every such grid."""
NUM_MASKS, NUM_SCORED = 32, 4
MARGIN, ERRORS = 0.3, 3.0
"""By how many nats a token, and how many standard errors of the difference, another reading has to win."""
KNOWS_TEXT = 0.7
"""Of the loss of a uniform guess: a network whose best reading is not below has not learnt such text."""
FEWEST_PARAMETERS = 10_000_000
"""Of a network that may have learnt text at all."""
MOST_WORK = 2e12
"""Products that all passes together may take on a CPU: seconds."""
TEXTS = (
    "The old bridge over the river was closed for repairs in the spring. People who lived on the other side had to "
    "take the ferry to work every morning, and many of them began to enjoy the short trip. When the bridge was opened "
    "again in the autumn, some of them kept taking the boat, because it gave them time to read the newspaper.",
    "Water boils at one hundred degrees Celsius at sea level. On a high mountain the pressure of the air is lower, so "
    "that water boils at a lower temperature. This is why it takes longer to cook an egg or a potato on a mountain "
    "than in a kitchen near the sea, even though the water in the pot is boiling in both places.",
    "A farmer has twelve cows and three times as many sheep. That means that there are thirty-six sheep on the farm, "
    "and forty-eight animals in all. If he sells six of the cows and half of the sheep, he will have six cows and "
    "eighteen sheep left, which makes twenty-four animals, half as many as he had before the sale.",
    "In many countries children start school when they are six years old. They first learn to read, to write and to "
    "do simple arithmetic. Later they study history, geography and the natural sciences, and most of them also learn "
    "a foreign language. At the end of school there is usually an examination, which decides who may go to university.",
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A way to read a network's states as predictions, and how well it predicts."""

    grid_block: int | None
    lookback: int
    losses: tuple[float, ...]
    """Nats, by scored token."""

    @property
    def loss(self) -> float:
        """Nats a token."""
        return sum(self.losses) / len(self.losses)

    def __str__(self) -> str:
        sight = {None: "tokens that see the whole canvas", 1: "tokens that see no later one"}
        shift = ", each read from the state before its own" if self.lookback else ""
        return f"{sight.get(self.grid_block, f'grid_block={self.grid_block}')}{shift} ({self.loss:.2f} nats a token)"


def clearly_better(backbone: Backbone, num_parameters: int) -> tuple[Reading, Reading] | None:
    """The declared reading and one that predicts text clearly better; None if there is none, or nothing can be said.

    Nothing is said without a tokenizer, of a network that has not learnt such text or is too small for it, of a large
    one on a CPU, where the few passes would take minutes, and where they do not fit into memory.

    Args:
        backbone: Loaded; its grid and shift are changed for the passes and put back.
        num_parameters: Of the network.
    """
    texts = _encoded(backbone) if num_parameters >= FEWEST_PARAMETERS else []
    num_tokens = len(texts) * sum(stretch + NUM_MASKS for stretch in STRETCHES)
    if not texts or (backbone.device.type == "cpu" and 2.0 * num_parameters * num_tokens * len(GRIDS) > MOST_WORK):
        return None
    declared = (backbone.grid_block, backbone.lookback)
    try:
        found = [
            Reading(grid_block=grid, lookback=lookback, losses=losses)
            for grid in dict.fromkeys((declared[0], *GRIDS))
            for lookback, losses in enumerate(_losses(backbone, texts, grid))
        ]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    own = next(reading for reading in found if (reading.grid_block, reading.lookback) == declared)
    best = min(found, key=lambda reading: reading.loss)
    if best.loss > KNOWS_TEXT * math.log(backbone.vocab_size) or not _wins(own, best):
        return None
    return own, best


def _wins(own: Reading, other: Reading) -> bool:
    gains = torch.tensor(own.losses) - torch.tensor(other.losses)
    return bool(gains.mean() > max(MARGIN, ERRORS * float(gains.std()) / math.sqrt(len(gains))))


def _encoded(backbone: Backbone) -> list[Int[Tensor, " n"]]:
    """Texts of enough tokens, none of them a mask."""
    if backbone.tokenizer is None or backbone.max_length < STRETCHES[-1] + NUM_MASKS:
        return []
    encoded = [backbone.tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    return [
        torch.tensor(ids)
        for ids in encoded
        if len(ids) >= STRETCHES[-1] + NUM_SCORED and backbone.mask_token_id not in ids
    ]


def _losses(
    backbone: Backbone, texts: list[Int[Tensor, " _"]], grid_block: int | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of all scored tokens, read from their own states and from those before; one pass."""
    masks = torch.full((NUM_MASKS,), backbone.mask_token_id)
    canvases, targets, wanted, start = [], [], [], 0
    for text in texts:
        for stretch in STRETCHES:
            canvases.append(torch.cat([text[:stretch], masks]))
            targets.append(text[stretch : stretch + NUM_SCORED])
            first = start + stretch
            wanted.append(torch.arange(first - 1, first + NUM_SCORED))
            start += len(canvases[-1])
    with _read_as(backbone, grid_block):
        states = backbone.states(torch.cat(canvases), [len(canvas) for canvas in canvases], torch.cat(wanted))
        scores = backbone.head(states).float().log_softmax(dim=-1).cpu().reshape(len(canvases), NUM_SCORED + 1, -1)
    aims = torch.stack(targets)
    return _negative(scores[:, 1:], aims), _negative(scores[:, :-1], aims)


def _negative(scores: Float[Tensor, "c s V"], aims: Int[Tensor, "c s"]) -> tuple[float, ...]:
    return tuple((-scores.gather(-1, aims[..., None])).flatten().tolist())


@contextlib.contextmanager
def _read_as(backbone: Backbone, grid_block: int | None) -> Iterator[None]:
    """The network with another grid and without shift inside."""
    before = backbone.grid_block, backbone.lookback
    backbone.grid_block, backbone.lookback = grid_block, 0
    try:
        yield
    finally:
        backbone.grid_block, backbone.lookback = before
