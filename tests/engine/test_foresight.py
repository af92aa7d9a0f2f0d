"""Where rules would have ended a row, against rows that they do end."""

import json

import pytest

from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.running.answering import run
from lm_eval_mdlm.running.budget import budget_of
from lm_eval_mdlm.running.diagnosis import ForesightRequest
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.processes import ProcessGroup
from tests.toy import RandomBackbone


PROMPTS = [[i, (2 * i) % 5, 3] for i in range(6)]
TEMPLATE = [{"reasoning": 7}, {"answer": 3}]
RULES = (
    *(("entropy", gamma) for gamma in (0.3, 0.9, 2.0, 3.0)),
    *(("confidence", threshold) for threshold in (0.6, 0.9)),
    ("logit_gap", None),
    *(("stable", passes) for passes in (1, 2, 3)),
)


def network() -> RandomBackbone:
    return RandomBackbone(vocab_size=7, scale=2.5)


@pytest.mark.parametrize(
    "way", [{"k": 1}, {"sampler": "med", "entropy_threshold": 1.0, "block_length": 4}, {"score": "random", "seed": 3}]
)
@pytest.mark.parametrize("extra", [{}, {"exit_threshold": 3.0}, {"max_nfe": 2}], ids=str)
def test_every_rule_finds_the_exit_and_the_answer_of_a_row_that_it_ends(tmp_path, way, extra):
    options = {"template": TEMPLATE, "batch_size": 4, **way}
    generate(network(), PROMPTS, record_steps=str(tmp_path), **options, **extra)
    rows = read_steps(tmp_path)
    asked = [ForesightRequest.of_row(row, RULES) for row in rows]
    backbone = network()
    found = run(
        backbone, [asked], group=ProcessGroup(alone=True), budget=budget_of(backbone, 3, cached=False), progress=False
    ).records
    prompts = [row.prompt_ids.tolist() for row in rows]
    to_the_end = generate(network(), prompts, **options)
    for one, whole, request in zip(found, to_the_end, asked, strict=True):
        assert one == request.restored(json.loads(json.dumps(one.to_plain())))
        assert (list(one.answer), one.steps, one.nfe) == (whole.token_ids[7:], whole.nfe, whole.nfe)
    fired = 0
    for number, (name, threshold) in enumerate(RULES):
        ended = generate(network(), prompts, exit_rule=name, exit_threshold=threshold, **options)
        for one, row in zip(found, ended, strict=True):
            own = one.exits[number]
            assert (None if own is None else own.step) == row.exit_step
            if own is not None:
                assert list(own.answer) == row.token_ids[7:]
                fired += 1
    assert fired > len(PROMPTS) * len(RULES) // 2
