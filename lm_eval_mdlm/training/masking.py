"""Which tokens of a canvas the network does not see, and which of these it learns from."""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layout import CleanCanvas


Flags = NDArray[np.bool_]


class Masked(NamedTuple):
    """What masking does to one canvas."""

    hidden: Flags
    """(L,) shown to the network as masks."""
    learnt: Flags
    """(L,) tokens in the loss; all of them hidden."""
    num_learnable: int
    """Tokens of which `learnt` is a random part: each of it counts by 1 / (ratio * num_learnable)."""


class Masking(abc.ABC):
    """A rule for masking; a frozen dataclass."""

    @abc.abstractmethod
    def draw(self, clean: CleanCanvas, ratio: float, rng: np.random.Generator) -> Masked:
        """Mask one canvas.

        Args:
            clean: At least one of its tokens is maskable.
            ratio: Probability, in (0, 1], with which a learnable token is masked.
            rng: Of the row.
        """


@dataclass(frozen=True)
class Anywhere(Masking):
    """Every maskable token by itself, as LLaDA does; the loss is its bound on -log p(response | prompt)."""

    def draw(self, clean: CleanCanvas, ratio: float, rng: np.random.Generator) -> Masked:
        masked = clean.maskable & (rng.random(len(clean.maskable)) < ratio)
        return Masked(masked, masked, int(clean.maskable.sum()))


@dataclass(frozen=True)
class InOneBlock(Masking):
    """A state that decoding in blocks passes through: all before a block is known, nothing behind it.

    Blocks are laid from the end of the prompt on, over fixed text too. The block of a random maskable token is masked
    token by token and learnt; every maskable token behind the block is masked and not learnt.
    """

    block_length: int
    """Positions per block, at least 1."""

    def draw(self, clean: CleanCanvas, ratio: float, rng: np.random.Generator) -> Masked:
        places = np.flatnonzero(clean.maskable)
        position = places[rng.integers(len(places))]
        block = (np.arange(len(clean.maskable)) - clean.prompt_length) // self.block_length
        own = clean.maskable & (block == block[position])
        learnt = own & (rng.random(len(own)) < ratio)
        return Masked(learnt | (clean.maskable & (block > block[position])), learnt, int(own.sum()))


@dataclass(frozen=True)
class Mixed(Masking):
    """One rule for a share of the rows and another one for the rest."""

    share: float
    """Probability of `some`, in [0, 1]."""
    some: Masking
    others: Masking

    def draw(self, clean: CleanCanvas, ratio: float, rng: np.random.Generator) -> Masked:
        rule = self.some if rng.random() < self.share else self.others
        return rule.draw(clean, ratio, rng)


def masking_of(block_share: float, block_length: int) -> Masking:
    """The rule of a run: `block_share` of its rows in one block each, the others anywhere."""
    return Mixed(block_share, InOneBlock(block_length), Anywhere()) if block_share else Anywhere()
