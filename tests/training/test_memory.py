"""A training that does not fit into memory ends in one line that names what takes less."""

from pathlib import Path

import pytest
import torch

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training import run
from lm_eval_mdlm.training.config import TrainingConfig
from lm_eval_mdlm.training.memory import told_of_memory
from tests.training.running import options


PAGE = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
OF_A_CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
SHORTAGES = {
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError(OF_A_CPU),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
}


def told(config: TrainingConfig, error: Exception) -> str:
    with pytest.raises(UsageError) as caught, told_of_memory(config):
        raise error
    return str(caught.value).replace(str(config.out), "DIR")


@pytest.mark.parametrize("error", SHORTAGES.values(), ids=SHORTAGES)
def test_a_want_of_memory_anywhere_in_a_training_is_the_line_of_the_page(tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(run, "_trained", fails)
    with pytest.raises(UsageError) as caught:
        run.train(options(tmp_path / "data", tmp_path / "out", tmp_path))
    line = str(caught.value).replace(str(tmp_path / "out"), "DIR")
    assert f"`lm_eval_mdlm: error: {line}`" in PAGE


def test_what_the_run_has_already_is_not_advised(tmp_path):
    all_taken = {"device_batch_size": 1, "gradient_checkpointing": True, "shard": True}
    line = told(options(tmp_path, tmp_path / "out", tmp_path, **all_taken), SHORTAGES["torch"])
    assert "the memory of the device; --lora-rank 16; with" in line
    adapters = {"device_batch_size": 2, "lora_rank": 8}
    line = told(options(tmp_path, tmp_path / "out", tmp_path, **adapters), SHORTAGES["torch"])
    assert "lower --device-batch-size from 2, or add --gradient-checkpointing, or lower --lora-rank from 8;" in line
    assert "--shard" not in line


def test_other_errors_stay_what_they_are(tmp_path):
    config = options(tmp_path, tmp_path / "out", tmp_path)
    for error in (RuntimeError("a shape"), UsageError("out of memory in a name"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, told_of_memory(config):
            raise error
        assert caught.value is error
