"""Memory that runs out while a checkpoint is loaded: one line, whichever library says so, and wherever."""

import pytest
import torch

from lm_eval_mdlm import UsageError, load_backbone


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
    RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
]


@pytest.mark.parametrize("error", ERRORS, ids=["of torch", "of a CPU", "of CUDA"])
@pytest.mark.parametrize("step", ["read_network", "refuse_not_finite", "PackedBackbone", "prove_bidirectional"])
def test_a_lack_of_memory_is_told_in_one_line(checkpoints, monkeypatch, step, error):
    def full(*arguments, **options):
        raise error

    monkeypatch.setattr(f"lm_eval_mdlm.checkpoints.load.{step}", full)
    with pytest.raises(UsageError, match="do not fit on cpu as torch.float32") as caught:
        load_backbone(str(checkpoints["llada"]), device="cpu")
    assert "\n" not in str(caught.value)


def test_other_errors_stay_what_they_are(checkpoints, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("a fault")

    monkeypatch.setattr("lm_eval_mdlm.checkpoints.load.read_network", broken)
    with pytest.raises(RuntimeError, match="a fault"):
        load_backbone(str(checkpoints["llada"]), device="cpu")
