"""Processes of a host and its GPUs, and which errors of NCCL tell of the way between processes."""

import pytest
import torch
from torch import distributed

from lm_eval_mdlm import UsageError
from lm_eval_mdlm.running.launched import check_gpus
from lm_eval_mdlm.running.liveness import is_broken_connection
from lm_eval_mdlm.running.processes import ProcessGroup
from lm_eval_mdlm.training.launch import Launch


@pytest.fixture
def two_here(monkeypatch):
    """Two processes on this host, of which this is the first."""
    given = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    return monkeypatch


@pytest.mark.parametrize("gpus", [0, 1, 2, 3])
def test_only_processes_that_would_share_gpus_are_refused(two_here, gpus):
    two_here.setattr(torch.cuda, "device_count", lambda: gpus)
    check_gpus(cpu=True)
    if gpus == 1:
        with pytest.raises(UsageError, match=r"as many as its GPUs, got LOCAL_WORLD_SIZE=2 and 1 GPU; start fewer"):
            check_gpus(cpu=False)
    else:
        check_gpus(cpu=False)
    two_here.delenv("LOCAL_WORLD_SIZE")
    check_gpus(cpu=False)


def test_runs_and_trainings_refuse_them_before_they_meet_and_not_on_cpus(two_here):
    class Formed:
        def __enter__(self):
            return None

        def __exit__(self, *error):
            return None

    class Watched:
        forming = Formed

    for room in ("running.processes", "training.launch"):
        two_here.setattr(f"lm_eval_mdlm.{room}.watch_processes", Watched)
    two_here.setattr(torch.cuda, "device_count", lambda: 1)
    launch = Launch.current()
    with pytest.raises(UsageError, match="and 1 GPU;"), launch.forming(cpu=False):
        raise AssertionError
    with pytest.raises(UsageError, match="and 1 GPU;"):
        ProcessGroup()
    with launch.forming(cpu=True):
        pass
    two_here.setenv("ACCELERATE_USE_CPU", "true")
    with launch.forming(cpu=False):
        pass


@pytest.mark.parametrize(
    ("fault", "is_broken"),
    [
        ("remote process exited or there was a network error", True),
        ("unhandled system error (run with NCCL_DEBUG=INFO for details)", True),
        ("internal error - please report this issue to the NCCL developers", True),
        ("invalid usage (run with NCCL_DEBUG=WARN for details)", False),
        ("invalid argument (run with NCCL_DEBUG=WARN for details)", False),
        ("unhandled cuda error (run with NCCL_DEBUG=INFO for details)", False),
    ],
)
def test_faults_of_nccl_in_this_process_are_not_the_networks(fault, is_broken):
    text = f"NCCL error in: ProcessGroupNCCL.cpp:94, {fault}, NCCL version 2.28.9\nncclRemoteError: invalid argument"
    assert is_broken_connection(distributed.DistBackendError(text)) is is_broken
    assert is_broken_connection(distributed.DistNetworkError(text))
    assert not is_broken_connection(RuntimeError(text))
