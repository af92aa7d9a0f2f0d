"""What it takes for a row to have the same bits alone, with any mates, and at any place in the pass.

Results must not depend on what else is in a batch, and one flipped bit can flip an argmax. A matrix product has the
same bits for each row as long as the kernel does not change, and libraries change it for few rows; element-wise
kernels on a CPU treat what is left over beside whole vectors with other arithmetic.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


MINIMUM_ROWS = {"cpu": 64, "cuda": 512}
"""Rows of a matrix product from which its bits no longer depend on their number, with a margin.

Measured for float32 on CPUs (they change below 33) and for bfloat16 on an H200 (equal at 512, 1024 and 4096).
"""


def padded_rows(num_rows: int, device: torch.device) -> int:
    """How many rows to compute so that `num_rows` of them come out the same in any company."""
    return max(num_rows, MINIMUM_ROWS.get(device.type, 512))


class StableSiLU(nn.Module):
    """`x * sigmoid(x)`, computed in float32, with bits that depend on the value alone.

    On a CPU, `torch.nn.functional.silu` evaluates the exponential by one formula in whole vectors and by another in
    the left-over elements, and which elements are left over depends on the size of the tensor and the number of
    threads. `torch.exp` uses one formula throughout.
    """

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        wide = x.float()
        return (wide / (1.0 + torch.exp(-wide))).to(x.dtype)


def stabilise(network: nn.Module) -> None:
    """Give every gated MLP of a network that runs on a CPU the stable activation, in place."""
    for module in network.modules():
        if hasattr(module, "act_fn"):
            module.act_fn = StableSiLU()
