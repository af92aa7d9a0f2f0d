"""Whether every weight is a number, looked at once they are in place: NaN would pass for any other fault later."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from .weights import StoredWeight


@torch.inference_mode()
def refuse_not_finite(network: Any, stored: Mapping[str, StoredWeight]) -> None:
    """UsageError that names the first weight with NaN or an infinity, and its file; parts left on disk are not read.

    Args:
        network: Loaded, in the dtype that it is going to run in.
        stored: Every stored weight by its native name.
    """
    weights = {name: weight for name, weight in network.named_parameters() if weight.device.type != "meta"}
    # One pass over the memory and no copy of it; a sum may also overflow by itself, so that it only raises suspicion.
    sums = {name: weight.sum(dtype=torch.float32) for name, weight in weights.items()}
    for name, total in sums.items():
        if not bool(total.isfinite()):
            _refuse(weights[name], stored[name])


def _refuse(weight: Tensor, origin: StoredWeight) -> None:
    for what, wrong in (("NaN", weight.isnan()), ("infinite", weight.isinf())):
        count = int(wrong.sum())
        if count:
            dtype = str(weight.dtype).removeprefix("torch.")
            wider = "use dtype=bfloat16 or float32, or " if what == "infinite" and dtype == "float16" else ""
            raise UsageError(
                f"{origin.file}: {origin.name} must hold finite numbers, got {count} of {weight.numel()} that are "
                f"{what} as {dtype}; {wider}fetch the checkpoint again."
            )
