"""Whether every weight is a number, looked at once they are in place: NaN would pass for any other fault later."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..errors import UsageError
from .families.stored_form import StoredForm, origins
from .weights import StoredWeight


def refuse_not_finite(network: Any, stored: Mapping[str, StoredWeight], forms: Sequence[StoredForm] = ()) -> None:
    """UsageError that names the first weight with NaN or an infinity, and its file; parts left on disk are not read.

    Args:
        network: Loaded, in the dtype that it is going to run in.
        stored: Every stored weight by its native name.
        forms: How weights are stored in other pieces.
    """
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    kept = network.state_dict().keys()
    shapes = {name: tuple(weight.shape) for name, weight in named.items() if name in kept}
    sources = origins(forms, shapes, stored)
    weights = {name: named[name] for name in shapes if _is_read(named[name])}
    # One pass over the memory and no copy of it; a sum may also overflow by itself, so that it only raises suspicion.
    with torch.inference_mode():
        sums = {name: weight.sum(dtype=torch.float32) for name, weight in weights.items()}
    for name, total in sums.items():
        if not bool(total.isfinite()):
            _refuse(weights[name], [stored[source] for source in sources[name]])


def _is_read(weight: Tensor) -> bool:
    """Whether a weight is here and consists of plain numbers, not of packed ones."""
    plain = type(weight) in (Tensor, nn.Parameter) and weight.is_floating_point()
    return plain and weight.device.type != "meta"


def _refuse(weight: Tensor, sources: Sequence[StoredWeight]) -> None:
    for what, find in (("NaN", torch.isnan), ("infinite", torch.isinf)):
        if bool(find(weight).any()):
            if len(sources) == 1:
                origin, wrong = sources[0], int(find(weight).sum())
            else:
                origin, wrong = _first_wrong(sources, weight.dtype, find)
            dtype = str(weight.dtype).removeprefix("torch.")
            wider = "use dtype=bfloat16 or float32, or " if what == "infinite" and dtype == "float16" else ""
            raise UsageError(
                f"{origin.file}: {origin.name} must hold finite numbers, got {wrong} of {math.prod(origin.shape)} that "
                f"are {what} as {dtype}; {wider}fetch the checkpoint again."
            )


def _first_wrong(
    sources: Sequence[StoredWeight], dtype: torch.dtype, find: Callable[[Tensor], Tensor]
) -> tuple[StoredWeight, int]:
    """The first piece of a weight with such numbers, and how many it has."""
    for source in sources:
        with safe_open(source.file, framework="pt") as tensors:
            wrong = int(find(tensors.get_tensor(source.name).to(dtype)).sum())
        if wrong:
            return source, wrong
    raise AssertionError(f"{sources[0].file}: the weight was finite in the file and is not in memory")
