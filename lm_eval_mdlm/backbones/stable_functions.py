"""Element-wise functions whose bits depend on the value alone, in place of torch's own on a CPU.

There `gelu`, `silu` and `sigmoid` have one formula for whole vectors and another for left-over elements, and which are
left over depends on the size of the tensor and the number of threads; `exp`, `erf` and `tanh` have one throughout.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def stable_sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`1 / (1 + exp(-x))`, in float32."""
    return (1.0 / (1.0 + torch.exp(-x.float()))).to(x.dtype)


def stable_silu(x: Float[Tensor, "*shape"], inplace: bool = False) -> Float[Tensor, "*shape"]:
    """`x * sigmoid(x)`, in float32; a new tensor also where `inplace` is asked for, which callers return anyway."""
    wide = x.float()
    return (wide / (1.0 + torch.exp(-wide))).to(x.dtype)


def stable_gelu(x: Float[Tensor, "*shape"], *, approximate: str = "none") -> Float[Tensor, "*shape"]:
    """`x` times the normal distribution function at `x`, or its approximation by `tanh`, in float32."""
    wide = x.float()
    if approximate == "tanh":
        inner = math.sqrt(2.0 / math.pi) * (wide + 0.044715 * (wide * wide * wide))
        return (0.5 * wide * (1.0 + torch.tanh(inner))).to(x.dtype)
    return (0.5 * wide * (1.0 + torch.erf(wide * math.sqrt(0.5)))).to(x.dtype)


STABLE: Mapping[Any, Callable[..., Tensor]] = {
    functional.gelu: stable_gelu,
    functional.silu: stable_silu,
    torch.sigmoid: stable_sigmoid,
    Tensor.sigmoid: stable_sigmoid,
}


class StableFunctions(TorchFunctionMode):
    """Inside, calls of the functions in `STABLE` are answered by the stable ones, wherever a network makes them."""

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """See `TorchFunctionMode`."""
        return STABLE.get(func, func)(*args, **(kwargs or {}))


def stable_functions(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The mode, where it is needed: on a CPU."""
    return StableFunctions() if device.type == "cpu" else contextlib.nullcontext()
