"""Chains, traces, foresight and recorded rows, too, get what they would have got after a pass did not fit."""

import random

import pytest
import torch

from lm_eval_mdlm.decoding.logits import LogitRule
from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.engine.chains import ChainsPlan, chaining
from lm_eval_mdlm.engine.foresight import foreseeing
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.recorded import decoding_on_record
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.exits import EXIT_RULES
from lm_eval_mdlm.running.planning import plan_row
from lm_eval_mdlm.running.trace_scoring import TraceScoreRequest
from tests.engine.test_scheduling import MASK, HashBackbone


OPTIONS = {"template": [{"reasoning": 6}, {"answer": 3}], "temperature": 0.7, "cfg_scale": 0.5}
CONFIG = DecodingConfig.from_options(OPTIONS)


def chains(backbone, i):
    where = {"canvas": (2 + i, MASK, 5, MASK, MASK), "prompt_length": 1, "positions": (4, 1, 3), "mask_token_id": MASK}
    key = RowKey.of(0, where["canvas"], [], 0)
    return chaining(ChainsPlan(**where, rule=LogitRule((MASK,), 0.5), key=key, num_samples=5, given=(7, 8, 9)))


def trace(backbone, i):
    parts = {"reasoning_ids": [5, 6, 7], "answer": [8 + i], "prefixes": [0, 2, 3], "likelihood": "l2r"}
    return TraceScoreRequest(prompt_ids=[3, i + 2], config=CONFIG, **parts).work(backbone)


def foresight(backbone, i):
    return foreseeing(plan_row(backbone, [4 + i], CONFIG), [EXIT_RULES["entropy"](6.0), EXIT_RULES["stable"](2)])


def recorded(backbone, i):
    row = yield from decoding_on_record(plan_row(backbone, [9 + i], CONFIG))
    return row.generation(True), [str(step) for step in row.steps_taken]


def outcome(backbone):
    works = [kind(backbone, i) for i in range(3) for kind in (chains, trace, foresight, recorded)]
    return dict(answer(Readout(backbone), enumerate(works), Budget()))


class Short(HashBackbone):
    """Has no memory, now and then: for a pass over canvases, or for the head, wherever that is run."""

    def __init__(self, share: float, seed: int, where: str) -> None:
        super().__init__()
        self.share, self.draws, self.where, self.failed = share, random.Random(seed), where, 0

    def _may_fail(self, where: str) -> None:
        if self.where == where and self.draws.random() < self.share and self.failed < 60:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def states(self, token_ids, lengths, wanted):
        if len(lengths) > 2:  # one row under guidance always fits
            self._may_fail("states")
        return super().states(token_ids, lengths, wanted)

    def head(self, states):
        if self.several:
            self._may_fail("head")
        return super().head(states)

    @property
    def several(self) -> bool:
        return len(self.passes[-1]) > 2


@pytest.fixture(scope="module")
def unlimited():
    return outcome(HashBackbone())


@pytest.mark.parametrize("where", ["states", "head"])
@pytest.mark.parametrize("seed", range(3))
def test_memory_that_ends_anywhere_changes_no_result(unlimited, where, seed):
    backbone = Short(0.4, seed, where)
    assert outcome(backbone) == unlimited and backbone.failed > 0
