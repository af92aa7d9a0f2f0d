"""Noisy batches that are a function of (seed, place in the run) alone.

Every row of a run has a place: step * rows per step + its index in the step. Order of the data, layout, mask
ratio and masked positions all follow from the place, never from the state of a process. So a resumed run sees
what an uninterrupted one sees, and so does a run on another number of processes or loader workers.
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .layout import Layout, TokenizedExample
from .masking import Anywhere, Masking


MIN_MASK_RATIO = 1e-3
"""Mask ratios are drawn from here to 1, so that weights of 1 / ratio stay bounded, as in LLaDA's training code."""
_ANYWHERE = Anywhere()


class NoisyRow(NamedTuple):
    """One row of a batch."""

    noisy_ids: NDArray[np.int64]
    """(L,) the canvas, masked."""
    masked: NDArray[np.int64]
    """(M,) masked positions that are learnt; others may be masked beside them."""
    targets: NDArray[np.int64]
    """(M,) what was there."""
    weight: float
    """Of each of these: 1 / (mask ratio * tokens that could have been among them)."""


class NoisyRows(Dataset[NoisyRow]):
    """All rows of a run, by place."""

    def __init__(
        self,
        examples: Sequence[TokenizedExample],
        layout: Layout,
        *,
        num_rows: int,
        rows_per_step: int,
        mask_token_id: int,
        seed: int,
        shuffle: bool = True,
        masking: Masking = _ANYWHERE,
    ) -> None:
        """`num_rows` may exceed the number of examples: each pass over them has an order of its own."""
        self.examples, self.layout, self.num_rows, self.rows_per_step = examples, layout, num_rows, rows_per_step
        self.mask_token_id, self.seed, self.shuffle, self.masking = mask_token_id, seed, shuffle, masking
        self._keep_what_rows_share()

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, place: int) -> NoisyRow:
        epoch, index = divmod(place, len(self.examples))
        example = self.examples[self._order(epoch)[index]]
        rng = np.random.Generator(np.random.Philox(key=[self.seed, place]))
        clean = self.layout.draw(example, rng)
        ratio = self.mask_ratio(place)
        masked = self.masking.draw(clean, ratio, rng)
        noisy_ids = clean.token_ids.copy()
        noisy_ids[masked.hidden] = self.mask_token_id
        learnt = np.flatnonzero(masked.learnt)
        return NoisyRow(noisy_ids, learnt, clean.token_ids[learnt], 1 / (ratio * masked.num_learnable))

    def mask_ratio(self, place: int) -> float:
        """Uniform on [MIN_MASK_RATIO, 1], stratified: those of a step are evenly spaced, and shifted at random."""
        step, row = divmod(place, self.rows_per_step)
        return MIN_MASK_RATIO + (1 - MIN_MASK_RATIO) * ((self._shift(step) + row / self.rows_per_step) % 1)

    def _draw_shift(self, step: int) -> float:
        return float(np.random.Generator(np.random.Philox(key=[self.seed, 2**63 + step])).random())

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(len(self.examples))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))

    def _keep_what_rows_share(self) -> None:
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)
        self._shift = functools.lru_cache(maxsize=2)(self._draw_shift)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in ("_order", "_shift")}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._keep_what_rows_share()


def in_order_of_content(examples: Sequence[TokenizedExample]) -> list[TokenizedExample]:
    """The examples sorted by a hash of their tokens: the same list in whatever order a file holds them.

    A validation loss that masks them in this order depends on what is in the file alone.
    """

    def digest(example: TokenizedExample) -> bytes:
        answer = () if example.answer is None else (example.answer,)
        pieces = [piece.astype("<i8").tobytes() for piece in (example.prompt, example.solution, *answer)]
        return hashlib.sha256(b"".join(len(piece).to_bytes(8, "little") + piece for piece in pieces)).digest()

    return sorted(examples, key=digest)


def collate(
    rows: Sequence[NoisyRow], *, pad_to: int | None, pad_token_id: int
) -> dict[str, Int[Tensor, "B L"] | Bool[Tensor, "B L"] | Int[Tensor, " M"] | Float[Tensor, " M"]]:
    """Rows padded on the right to one length: `pad_to`, or the longest row's.

    `masked` indexes the flattened (B * L) canvas; `weights` add up so that the loss is a mean over rows.
    """
    length = max(max(len(row.noisy_ids) for row in rows), pad_to or 0)
    token_ids = np.full((len(rows), length), pad_token_id, dtype=np.int64)
    present = np.zeros((len(rows), length), dtype=bool)
    for i, row in enumerate(rows):
        token_ids[i, : len(row.noisy_ids)] = row.noisy_ids
        present[i, : len(row.noisy_ids)] = True
    weights = np.repeat([row.weight / len(rows) for row in rows], [len(row.masked) for row in rows])
    return {
        "token_ids": torch.from_numpy(token_ids),
        "present": torch.from_numpy(present),
        "masked": torch.from_numpy(np.concatenate([i * length + row.masked for i, row in enumerate(rows)])),
        "targets": torch.from_numpy(np.concatenate([row.targets for row in rows])),
        "weights": torch.from_numpy(weights.astype(np.float32)),
    }
