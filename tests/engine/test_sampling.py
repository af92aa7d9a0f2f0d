"""Samples at a temperature above 0: drawn together, each as if its row were alone."""

import pytest

from lm_eval_mdlm import generate
from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import PlainStatistics, Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_scheduling import HashBackbone


PROMPTS = [[1 + i % 30, 2 + 7 * i % 30, 3][: 1 + i % 3] for i in range(20)]
KINDS = [
    {"temperature": 0.7},
    {"temperature": 1.5, "k": 3},
    {"temperature": 0.0},
    {"temperature": 1.0, "cfg_scale": 0.8},
    {"temperature": 0.7, "cfg_scale": 0.8, "k": 2},
    {"temperature": 1.0, "suppress_tokens": [3, 4]},
    {"temperature": 1.0, "template": [{"reasoning": 6}, {"answer": 3}], "exit_threshold": 9.0},
]


class Counted(HashBackbone):
    """Counts the calls of its head, which is what reads the vocabulary."""

    heads = 0

    def head(self, states):
        self.heads += 1
        return super().head(states)


def plans(backbone, kinds):
    configs = [DecodingConfig.from_options({"gen_length": 9, "block_length": 9, **kind}) for kind in kinds]
    configs = [c if c.template is None else DecodingConfig.from_options({"gen_length": None}, base=c) for c in configs]
    return [plan_row(backbone, prompt, configs[i % len(configs)], repeat=i % 2) for i, prompt in enumerate(PROMPTS)]


@pytest.mark.parametrize("most_rows", [1, 3, 128])
def test_samples_do_not_depend_on_what_else_is_drawn_in_the_step(monkeypatch, most_rows):
    monkeypatch.setattr(PlainStatistics, "most_rows", most_rows)
    made = plans(HashBackbone(), KINDS)
    together = dict(decode(Readout(HashBackbone()), enumerate(made), Budget()))
    for i, plan in enumerate(made):
        ((_, alone),) = decode(Readout(HashBackbone()), [(0, plan)], Budget())
        assert together[i].generation(True) == alone.generation(True), KINDS[i % len(KINDS)]


def test_all_samples_of_a_step_and_rule_are_read_with_one_call_of_the_head():
    sampled, greedy = Counted(), Counted()
    for backbone, temperatures in ((sampled, (0.5, 1.0, 2.0)), (greedy, (0.0,))):
        kinds = [{"temperature": t, "k": 3} for t in temperatures]
        assert len(list(decode(Readout(backbone), enumerate(plans(backbone, kinds)), Budget()))) == len(PROMPTS)
        assert len(backbone.passes) == 3
    assert sampled.heads == greedy.heads + 3


def test_equal_requests_sample_alike_and_repeats_differ():
    options = {"gen_length": 12, "block_length": 12, "temperature": 1.0, "k": 4}
    first, second, other = generate(HashBackbone(), [[1, 2], [1, 2], [2, 1]], **options)
    assert first == second and first.token_ids != other.token_ids
    assert generate(HashBackbone(), [[1, 2]], seed=1, **options)[0].token_ids != first.token_ids
