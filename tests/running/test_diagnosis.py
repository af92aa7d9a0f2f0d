"""Recorded options come back as the configuration that they were."""

import dataclasses
import json

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.samplers import SAMPLERS
from lm_eval_mdlm.running.diagnosis import ChainsRequest, ForesightRequest
from tests.recordings.made import MASK, steps
from tests.toy import RandomBackbone


WAYS = [
    {},
    {"until": ["x", "\n"], "temperature": 0.7, "top_p": 0.9, "seed": 3},
    {"cfg_scale": 1.5, "suppress_tokens": [4]},
]
TEMPLATE = [{"reasoning": 6}, {"text": "so"}, {"answer": 2}]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("more", [*WAYS, {"template": TEMPLATE, "exit_threshold": 0.5, "gen_length": 10}], ids=str)
def test_every_sampler_s_options_come_back(sampler, more):
    config = DecodingConfig.from_options({"sampler": sampler, **more})
    recorded = json.loads(json.dumps(config.effective()))
    request = ForesightRequest.of_row(steps([{"positions": [1]}], options=recorded), [("entropy", 0.1)])
    assert request.config.policy() == config.policy() and request.config.exit() is None
    ours, theirs = request.config.effective(), config.effective()
    for name in theirs:
        if name not in ("exit_threshold", "exit_rule", "max_nfe", "stop_when_settled", "gold_score"):
            assert ours[name] == theirs[name], name
    assert ours["exit_threshold"] is None and ours["max_nfe"] is None


def test_a_chain_is_asked_for_on_the_canvas_that_the_pass_saw():
    row = steps(
        [{"positions": [0, 4], "tokens": [5, 6]}, {"positions": [1, 3], "tokens": [2, 1]}],
        options={"cfg_scale": 0.5, "suppress_tokens": [3]},
    )
    request = ChainsRequest.of_step(row, 1, [1, 3], num_samples=2, given=[2, 1])
    assert request.canvas == [2, 3, 5, MASK, MASK, MASK, 6, MASK] and request.prompt_length == 2
    assert request.positions == [3, 5]
    with pytest.raises(UsageError, match="holds the token 99, and the checkpoint has 9; name the checkpoint"):
        request.plan(RandomBackbone(vocab_size=9))
    plan = request.plan(RandomBackbone(vocab_size=100))
    assert plan.rule.cfg_scale == 0.5 and set(plan.rule.forbidden_ids) == {3, MASK}
    others = [dataclasses.replace(request, num_samples=3), dataclasses.replace(request, given=[])]
    assert len({json.dumps(one.content()) for one in (request, *others)}) == 3
