"""The validation loss and its error: every example masked several times, evenly over mask ratios."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from .batches import NoisyRow, NoisyRows, in_order_of_content
from .layout import Layout, TokenizedExample


EVALUATION_SEED = 2**32
"""Apart from any training seed's rows: seeds are below this in practice, and places never meet."""


@dataclass(frozen=True, kw_only=True)
class ValidationLoss:
    """A mean over examples."""

    mean: float
    standard_error: float
    """Of the mean, over the examples as a sample of all such examples; NaN for a single one."""

    def metrics(self, prefix: str) -> dict[str, float]:
        """As the Trainer logs them."""
        error = {} if math.isnan(self.standard_error) else {f"{prefix}_loss_error": self.standard_error}
        return {f"{prefix}_loss": self.mean, **error}


def validation_rows(
    examples: Sequence[TokenizedExample], layout: Layout, *, draws: int, mask_token_id: int
) -> NoisyRows:
    """Row d * N + i is draw d of example i, in an order that the file does not decide.

    All draws * N mask ratios are one even grid, and so are the ratios of each example.
    """
    num_rows = draws * len(examples)
    return NoisyRows(
        in_order_of_content(examples),
        layout,
        num_rows=num_rows,
        rows_per_step=num_rows,
        mask_token_id=mask_token_id,
        seed=EVALUATION_SEED,
        shuffle=False,
    )


def row_losses(
    rows: NoisyRows,
    compute: Callable[[Mapping[str, Tensor]], Float[Tensor, " B"]],
    *,
    batch_size: int,
    collate: Callable[[Sequence[NoisyRow]], dict[str, Tensor]],
    process: int,
    num_processes: int,
    workers: int,
) -> Float[Tensor, " N"]:
    """Losses of this process's share of the rows, in their places; zero elsewhere, so that processes add up.

    Every process makes the same number of passes, as sharded weights need; for that the last row is repeated.
    """
    num_shares = -(-len(rows) // num_processes)
    places = [min(i * num_processes + process, len(rows) - 1) for i in range(num_shares)]
    batches: Any = DataLoader(
        Subset(rows, places), batch_size=batch_size, collate_fn=collate, num_workers=workers, shuffle=False
    )
    found = [compute(batch).detach().float().cpu() for batch in batches]
    losses = torch.zeros(len(rows))
    own = [place for i, place in enumerate(places) if i * num_processes + process < len(rows)]
    losses[own] = torch.cat(found)[: len(own)]
    return losses


def summarise(losses: Float[Tensor, " N"], *, num_examples: int) -> ValidationLoss:
    """From the losses of all rows, draw by draw, to their mean over examples."""
    by_example = losses.double().reshape(-1, num_examples).mean(0)
    error = by_example.std().item() / math.sqrt(num_examples) if num_examples > 1 else math.nan
    return ValidationLoss(mean=by_example.mean().item(), standard_error=error)
