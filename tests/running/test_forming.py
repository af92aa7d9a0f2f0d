"""What is said where processes do not come to reach each other."""

import time

import pytest
from torch import distributed

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.running.beats import Patience
from lm_eval_mdlm.running.liveness import Liveness, is_broken_connection


def test_an_unreachable_process_is_told_in_one_line_and_other_errors_stay_what_they_are():
    liveness = Liveness(1, 2, lambda: None, Patience(silence=0.1), "10.0.0.1:29500")
    broken = RuntimeError("Gloo connectFullMesh failed with [gloo/pair.cc:152] refused\nframe #0: ...")
    with pytest.raises(UsageError) as told, liveness.forming():
        raise broken
    assert str(told.value).startswith("process 1 did not reach the others: Gloo connectFullMesh failed with [gloo/pair")
    assert "frame" not in str(told.value) and "refused; name the network between the hosts" in str(told.value)
    for error in (RuntimeError("CUDA error"), UsageError("an option"), ValueError("gloo")):
        with pytest.raises(type(error)) as raised, liveness.forming():
            raise error
        assert raised.value is error


NCCL = "NCCL error in: NCCLUtils.cpp:93, {}, NCCL version 2.28.9\nncclRemoteError: invalid argument\nLast error:\n{}\n"


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
    text = NCCL.format(fault, "")
    assert is_broken_connection(distributed.DistBackendError(text)) is is_broken
    assert is_broken_connection(distributed.DistNetworkError(text))
    assert not is_broken_connection(RuntimeError(text))


def test_processes_that_share_a_gpu_are_told_so_in_one_line_after_the_others_have_heard_of_them():
    liveness = Liveness(1, 2, lambda: None, Patience(silence=1.2), "10.0.0.1:29500")
    last = "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000"
    begin = time.monotonic()
    with pytest.raises(UsageError) as told, liveness.forming():
        raise distributed.DistBackendError(NCCL.format("invalid usage (run with NCCL_DEBUG=WARN for details)", last))
    assert str(told.value).startswith(f"process 1 must have a GPU of its own, got of NCCL: {last}; start at most ")
    assert time.monotonic() - begin >= 0.4 and liveness.has_stopped
    with pytest.raises(UsageError, match="an option"), liveness.forming():
        raise UsageError("an option")
    assert time.monotonic() - begin < 0.7
