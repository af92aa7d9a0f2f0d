"""What it takes for a row to have the same bits alone, with any mates, and at any place in the pass.

Results must not depend on what else is in a batch, and one flipped bit can flip an argmax. A matrix product has the
same bits for each row as long as every row's sum over the inner dimension runs in one order, and libraries change that
order for few rows; element-wise kernels on a CPU treat what is left over beside whole vectors with other arithmetic.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, pad


@dataclass(frozen=True, kw_only=True)
class MatrixProducts:
    """How products are run on one kind of device so that their rows do not depend on each other."""

    minimum_rows: int
    """Rows from which a row's bits no longer depend on their number, with a margin."""
    without_split_sums: bool = False
    """Keep cuBLAS from splitting the inner dimension of small products over several blocks."""

    @classmethod
    def on(cls, device: torch.device, dtype: torch.dtype) -> "MatrixProducts":
        """How to run them on this device.

        Measured: float32 on CPUs changes below 33 rows, and wide products on several threads with any number (see
        `stable_linear`). On an H200 bfloat16 without split sums is equal for 32 to 4096
        rows at the shapes of LLaDA-8B and Dream-7B, and with them only from 512 rows on.
        """
        if device.type == "cpu":
            return cls(minimum_rows=64)
        if device.type == "cuda" and dtype in (torch.bfloat16, torch.float16):
            return cls(minimum_rows=64, without_split_sums=True)
        return cls(minimum_rows=512)

    def padded(self, num_rows: int) -> int:
        """How many rows to compute so that `num_rows` of them come out the same in any company."""
        return max(num_rows, self.minimum_rows)

    @contextlib.contextmanager
    def in_fixed_order(self) -> Iterator[None]:
        """Products inside sum in one order; torch's own settings are as before afterwards."""
        if not self.without_split_sums:
            yield
            return
        library, settings = torch.backends.cuda.preferred_blas_library(), torch.backends.cuda.matmul
        names = [f"allow_{half}_reduced_precision_reduction" for half in ("bf16", "fp16")]
        before = [(getattr(settings, name), getattr(settings, f"{name}_split_k")) for name in names]
        try:
            torch.backends.cuda.preferred_blas_library("cublaslt")  # the only one that can be kept from splitting
            for name in names:
                setattr(settings, name, (False, False))
            yield
        finally:
            for name, value in zip(names, before, strict=True):
                setattr(settings, name, value)
            torch.backends.cuda.preferred_blas_library(library)


class StableSiLU(nn.Module):
    """`x * sigmoid(x)`, computed in float32, with bits that depend on the value alone.

    On a CPU, `torch.nn.functional.silu` evaluates the exponential by one formula in whole vectors and by another in
    the left-over elements, and which elements are left over depends on the size of the tensor and the number of
    threads. `torch.exp` uses one formula throughout.
    """

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        wide = x.float()
        return (wide / (1.0 + torch.exp(-wide))).to(x.dtype)


WIDE = 513
"""Least inner dimension that a CPU's library may share among threads. Measured with 2 to 16 threads in float32: from
768 on, products can change their rows' bits at up to 512 rows; of 256 and less they never do."""
ROWS_AT_ONCE = 64
"""Rows of a wide product on several threads."""


def stable_linear(
    x: Float[Tensor, "*rows D"], weight: Float[Tensor, "O D"], bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*rows O"]:
    """`linear` on a CPU, with the same bits of a row however many there are from 33 on, also on several threads.

    Threads share the inner dimension of a wide product, and how depends on the number of rows; so that number is fixed.
    """
    if torch.get_num_threads() == 1 or weight.shape[1] < WIDE:
        return linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    filled = pad(rows, (0, 0, 0, -len(rows) % ROWS_AT_ONCE))
    blocks = [linear(block, weight, bias) for block in torch.split(filled, ROWS_AT_ONCE)]
    return torch.cat(blocks)[: len(rows)].reshape(*x.shape[:-1], len(weight))


class StableLinear(nn.Linear):
    """A linear layer by `stable_linear`."""

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows O"]:
        return stable_linear(x, self.weight, self.bias)


def stabilise(network: nn.Module) -> None:
    """Give a network that runs on a CPU stable activations in its gated MLPs, and stable wide products, in place."""
    for module in network.modules():
        if hasattr(module, "act_fn"):
            module.act_fn = StableSiLU()
        if type(module) is nn.Linear and module.in_features >= WIDE:
            module.__class__ = StableLinear
