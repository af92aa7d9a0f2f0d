import json

import pytest
import torch

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training import run
from lm_eval_mdlm.training.repeatable import repeatable_passes
from lm_eval_mdlm.training.run import train
from tests.tiny import make_checkpoint
from tests.training.running import assert_equal_weights, options


def test_torch_is_asked_for_the_time_of_the_passes_and_no_longer():
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), repeatable_passes(True):
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    with repeatable_passes(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_run_asks_for_it_in_its_steps(tmp_path, data, monkeypatch):
    start = make_checkpoint(tmp_path / "start")
    seen = []

    class Watched(run.DiffusionTrainer):
        def training_step(self, *arguments, **more):
            seen.append(torch.are_deterministic_algorithms_enabled())
            return super().training_step(*arguments, **more)

    monkeypatch.setattr(run, "DiffusionTrainer", Watched)
    for name, wanted in (("as_ever", False), ("repeatable", True)):
        train(options(data, tmp_path / name, start, deterministic=wanted))
    assert seen == [False] * 4 + [True] * 4
    assert_equal_weights(tmp_path / "as_ever", tmp_path / "repeatable")  # sums on a CPU have one order anyway


def test_run_from_before_an_option_existed_goes_on_if_that_has_its_default(tmp_path, data):
    start = make_checkpoint(tmp_path / "start")
    train(options(data, tmp_path / "out", start, steps=2))
    record = tmp_path / "out" / "training.json"
    older = {k: v for k, v in json.loads(record.read_text()).items() if k not in ("block_share", "deterministic")}
    record.write_text(json.dumps(older))
    with pytest.raises(UsageError, match=r"--block-share is 0.5, the run in .* had 0.0"):
        train(options(data, tmp_path / "out", start, steps=2, block_share=0.5, resume=True))
    train(options(data, tmp_path / "out", start, steps=2, resume=True))
