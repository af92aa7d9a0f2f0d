"""Candidates made by hand: what a test does not name is what a first pass over masks 0, 1, 2, ... would have."""

from typing import Any

import torch

from lm_eval_mdlm.decoding.scores import Candidates


def candidates_of(**columns: Any) -> Candidates:
    """Candidates of the given columns, one of which is `eligible`, (B, N)."""
    eligible = columns["eligible"]
    shape, rows = eligible.shape, len(eligible)
    whole = torch.zeros(shape, dtype=torch.long)
    defaults = {
        **{name: torch.zeros(shape) for name in ("entropy", "confidence", "margin", "logit_gap", "log_prob", "noise")},
        **{"argmax": whole, "token": columns.get("argmax", whole), "position": torch.arange(shape[1]).expand(shape)},
        "revisable": torch.zeros(shape, dtype=torch.bool),
        "block_masks": eligible.sum(-1),
        **{name: torch.zeros(rows, dtype=torch.long) for name in ("block_step", "block_start")},
        "num_blocks": torch.ones(rows, dtype=torch.long),
        "memories": (None,) * rows,
    }
    return Candidates(**{**defaults, **columns})


def rows_of(candidates: Candidates, order: torch.Tensor) -> Candidates:
    """The same rows in another order."""
    columns = vars(candidates).items()
    tensors = {name: value[order] for name, value in columns if isinstance(value, torch.Tensor)}
    lists = {name: tuple(value[i] for i in order.tolist()) for name, value in columns if name == "memories"}
    return Candidates(**tensors, **lists)
