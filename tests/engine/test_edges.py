import math

import pytest
import torch

from lm_eval_mdlm.canvas.template import Span
from lm_eval_mdlm.canvas.text import TextRule
from lm_eval_mdlm.decoding.statistics import statistics
from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_exact_joint import independent
from tests.engine.test_scheduling import MASK, VOCAB, scripted
from tests.tiny import special_tokens, token_id
from tests.toy import TableBackbone, _Direct


def test_every_end_of_text_token_ends_the_text():
    rule = TextRule((Span("reasoning", 0, 4),), 0, (1, 2), lambda ids: "".join(map(chr, ids)))
    assert [rule.read([97, end, 98, 98]).text for end in (1, 2)] == ["a", "a"]
    assert rule.is_settled([97, 2, 0, 0])


def test_pass_that_fires_the_exit_commits_nothing_but_the_answer():
    # The reasoning is certain and would be chosen by every rule; the answer is what the exit takes.
    joint = independent([1.0, 0.0], [0.9, 0.1])
    options = {"template": [{"reasoning": 1}, {"answer": 1}], "block_length": 9, "exit_threshold": 1.0}
    (row,) = generate(TableBackbone(joint), [[0]], record_steps=True, **options)
    assert (row.token_ids, row.commit_steps, row.nfe, row.tokens) == ([2, 0], [None, 1], 1, 1)


def test_threshold_of_zero_never_exits():
    joint = independent([1.0, 0.0], [0.9, 0.1])
    options = {"template": [{"answer": 1}, {"reasoning": 1}], "block_length": 9, "exit_threshold": 0}
    (row,) = generate(TableBackbone(joint), [[0]], **options)
    assert (row.nfe, row.early_exit, row.answer_entropy) == (2, False, 0.0)


def test_random_order_is_drawn_anew_at_every_step():
    # With one order for all steps, k = 1 and k = n / 2 would commit the same half first; and the first of each step
    # would be the next of that one order.
    orders = set()
    for prompt in range(2, 12):
        (one,) = generate(scripted(), [[prompt]], gen_length=12, block_length=12, score="random", record_steps=True)
        (half,) = generate(
            scripted(), [[prompt]], gen_length=12, block_length=12, score="random", k=6, record_steps=True
        )
        first = {i for i, step in enumerate(half.commit_steps) if step == 1}
        orders.add(first == {i for i, step in enumerate(one.commit_steps) if step <= 6})
    assert orders != {True}


class Flat(_Direct):
    """Uniform over all tokens everywhere, the mask included."""

    def __init__(self, vocab: int = VOCAB) -> None:
        super().__init__(vocab, vocab - 1)

    def read(self, canvas):
        return torch.zeros(len(canvas), self.vocab_size)


def test_positions_of_one_step_are_sampled_independently():
    (row,) = generate(Flat(), [[7]], gen_length=30, block_length=30, k=30, temperature=1.0)
    assert row.nfe == 1 and len(set(row.token_ids)) > 10


def test_mask_is_never_proposed_however_likely():
    class Masks(Flat):
        def read(self, canvas):
            logits = super().read(canvas)
            logits[:, self.mask_token_id] = 50.0
            return logits

    for temperature in (0, 1.0):
        (row,) = generate(Masks(), [[7]], gen_length=8, temperature=temperature, record_steps=True)
        assert MASK not in row.token_ids
    # Nor does it count as certainty: what is left is uniform.
    plan = plan_row(Masks(), [7], DecodingConfig.from_options({"template": [{"answer": 1}]}))
    ((_, done),) = decode(Readout(Masks()), [(0, plan)], Budget())
    assert done.answer_entropy == pytest.approx(math.log(VOCAB - 1), abs=1e-4)


def test_samples_under_guidance_follow_the_guided_distribution():
    class Prompted(Flat):
        def read(self, canvas):
            logits = super().read(canvas)
            logits[:, 5] = 4.0 if canvas[0] != self.mask_token_id else 0.0
            return logits

    # Guided: 0 + 2 * (4 - 0) = 8 for token 5, a probability of 0.99; the other way round -4, below 0.001.
    prompts = [[2 + i % 30, 2 + i // 30] for i in range(100)]
    rows = generate(Prompted(), prompts, gen_length=1, temperature=1.0, cfg_scale=1.0)
    assert sum(row.token_ids == [5] for row in rows) > 90


def test_special_tokens_of_a_real_tokenizer_do_not_count(backbone, family):
    rule = plan_row(backbone, [7], DecodingConfig.from_options({"gen_length": 12})).text_rule
    specials = [token_id(family, token) for token in special_tokens(family)]
    quiet = [token for token in specials if token not in (*backbone.end_token_ids, backbone.mask_token_id)]
    letters = backbone.tokenizer.encode("a b", add_special_tokens=False)
    torn = backbone.tokenizer.encode("日", add_special_tokens=False)[:1]  # leaves a sign that something is missing
    read = rule.read([quiet[0], *letters, quiet[-1], *torn, *quiet])
    assert quiet and (read.text, read.num_tokens) == ("a b\ufffd", len(letters) + 1)


def test_region_is_part_of_a_rows_key():
    backbone = Flat()
    plans = [plan_row(backbone, [7], DecodingConfig.from_options({"gen_length": n})) for n in (4, 5)]
    assert plans[0].key != plans[1].key
    assert plan_row(backbone, [8], DecodingConfig.from_options({"gen_length": 4})).key != plans[0].key


@pytest.mark.parametrize(("gen_length", "truncated", "kept"), [(5, False, 5), (6, True, 4), (9, True, 1)])
def test_prompt_that_just_fits_is_whole(gen_length, truncated, kept):
    backbone = scripted()
    backbone.max_length = 10
    plan = plan_row(backbone, [2, 3, 4, 5, 6], DecodingConfig.from_options({"gen_length": gen_length}))
    assert (plan.truncated, plan.prompt_ids) == (truncated, (2, 3, 4, 5, 6)[5 - kept :])


def test_region_as_long_as_the_canvas_leaves_no_room():
    backbone = scripted()
    backbone.max_length = 10
    with pytest.raises(UsageError, match="leaves no room"):
        plan_row(backbone, [2, 3], DecodingConfig.from_options({"gen_length": 10}))
    assert plan_row(backbone, [2, 3], DecodingConfig.from_options({"gen_length": 4, "max_length": 10}))


def test_statistics_of_a_row_do_not_depend_on_how_many_are_read_with_it():
    torch.manual_seed(0)
    logits = torch.randn(8, 126_464) * 4
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # with one thread every sum has the same order
    try:
        targets = torch.randint(126_464, (8,))
        together = statistics(logits, targets)
        for n in (1, 2, 3):
            alone = statistics(logits[:n], targets[:n])
            assert all(torch.equal(getattr(alone, name), getattr(together, name)[:n]) for name in vars(alone)), n
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["temperature", "cfg_scale"])
def test_infinite_scales_are_refused(name):
    with pytest.raises(UsageError, match=f"{name} must be"):
        DecodingConfig.from_options({name: math.inf})


def test_samples_do_not_depend_on_how_many_rows_are_read_at_a_time():
    backbone = Flat()
    options = {"gen_length": 12, "block_length": 12, "k": 12, "temperature": 1.0}
    plan = plan_row(backbone, [7], DecodingConfig.from_options(options))
    whole, chunked = (
        next(decode(Readout(backbone, max_bytes=size), [(0, plan)], Budget()))[1].region_ids for size in (2**20, 1)
    )
    assert whole == chunked and len(set(whole)) > 4


def test_gen_length_resizes_the_templates_reasoning():
    template = [{"reasoning": 3}, {"answer": 2}]
    config = DecodingConfig.from_options({"template": template, "gen_length": 9})
    assert config.resolved_template().gen_length == 9
    assert config.effective()["template"] == [{"reasoning": 7}, {"answer": 2}]
    assert len(plan_row(Flat(), [7], config).region.token_ids) == 9


def test_block_length_of_zero_is_refused():
    with pytest.raises(UsageError, match="block_length must be a whole number, at least 1, got 0"):
        DecodingConfig.from_options({"block_length": 0})


class Steady(Flat):
    """The same distributions whatever is committed: position i of a region of two prefers 5 + i."""

    def read(self, canvas):
        logits = super().read(canvas)
        logits[-2, 5], logits[-1, 6] = 6.0, 4.0
        return logits


def entropy_of(logit: float) -> float:
    """Of one logit above VOCAB - 2 others at 0; the mask is out."""
    p, q = (math.exp(x) / (math.exp(logit) + VOCAB - 2) for x in (logit, 0.0))
    return -p * math.log(p) - (VOCAB - 2) * q * math.log(q)


def test_committed_answer_tokens_leave_the_bound_and_stay():
    options = {"template": [{"answer": 2}], "block_length": 1, "record_steps": True}
    (full,) = generate(Steady(), [[7]], **options)
    assert full.answer_entropy == pytest.approx(entropy_of(4.0), abs=1e-4)
    (row,) = generate(Steady(), [[7]], exit_threshold=entropy_of(4.0) + 1e-3, temperature=3.0, **options)
    assert (row.exit_step, row.commit_steps) == (2, [1, 2])


def test_each_block_spreads_its_own_masks_over_its_steps():
    (row,) = generate(scripted(), [[7]], gen_length=6, block_length=4, steps=4, record_steps=True)
    assert [row.commit_steps.count(step) for step in (1, 2, 3, 4)] == [2, 2, 1, 1]


def test_answer_right_of_the_current_block_is_watched_with_and_without_an_exit():
    joint = independent([0.6, 0.4], [0.9, 0.1])
    options = {"template": [{"reasoning": 1}, {"answer": 1}], "block_length": 1}
    (row,) = generate(TableBackbone(joint), [[0]], **options)
    assert (row.nfe, row.early_exit) == (2, False)
    (row,) = generate(TableBackbone(joint), [[0]], exit_threshold=0.5, **options)
    assert (row.nfe, row.exit_step, row.token_ids) == (1, 1, [2, 0])
