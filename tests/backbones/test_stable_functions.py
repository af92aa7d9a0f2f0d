"""Activations on a CPU: torch's own values, with bits that depend on the value alone."""

import pytest
import torch
from torch.nn import functional

from lm_eval_mdlm.backbones.stable_functions import stable_functions


CALLS = {
    "gelu": functional.gelu,
    "gelu by tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "silu in place": lambda x: functional.silu(x.clone(), inplace=True),
    "sigmoid": torch.sigmoid,
    "sigmoid as a method": lambda x: x.sigmoid(),
    "sigmoid of nn": torch.nn.Sigmoid(),
    "gelu of nn": torch.nn.GELU(),
    "silu of nn": torch.nn.SiLU(),
    "tanh": torch.tanh,  # torch's own
    "erf": torch.erf,
}


def values():
    return 4 * torch.randn(70_001, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_value_has_the_same_bits_wherever_it_stands(call, num_threads):
    x = values()
    with stable_functions(torch.device("cpu")):
        whole = call(x)
        for start in range(0, 40, 3):
            for length in (1, 7, 17, 33, 66_003):
                assert torch.equal(call(x[start : start + length].clone()), whole[start : start + length])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_torch_s_own_but_for_rounding(call, dtype):
    x = values()[:1000].to(dtype)
    with stable_functions(torch.device("cpu")):
        found = call(x)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found, call(x), atol=1e-6 if dtype == torch.float32 else 1e-2, rtol=1e-6 + 1e-2 * (dtype != torch.float32)
    )


def test_torch_is_as_before_afterwards_and_on_other_devices():
    x = values()
    plain = functional.gelu(x)
    with stable_functions(torch.device("cpu")):
        assert not torch.equal(functional.gelu(x), plain)
    assert torch.equal(functional.gelu(x), plain)
    with stable_functions(torch.device("cuda")):
        assert torch.equal(functional.gelu(x), plain)
