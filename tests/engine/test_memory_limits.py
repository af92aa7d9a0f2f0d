"""A run that does not fit into memory goes on with smaller passes, and every row gets what it would have got."""

import logging
import random

import pytest
import torch

from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.budget import MOST_TOKENS, SHARE_OF_FREE_MEMORY, budget_of
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_scheduling import MASK, OPTIONS, PROMPTS, VOCAB, HashBackbone, laid_out, scripted
from tests.toy import ScriptedBackbone


LARGEST_ROW = 2 * (max(map(len, PROMPTS)) + 24)  # with guidance


class Limited(HashBackbone):
    """Has no memory for passes that `fails` says so of, given their number from 0 and their tokens.

    `passes` holds those that went through, `failed` the tokens of the others.
    """

    def __init__(self, fails) -> None:
        super().__init__()
        self.fails, self.failed = fails, []

    def states(self, token_ids, lengths, wanted):
        if self.fails(len(self.passes) + len(self.failed), len(token_ids)):
            self.failed.append(len(token_ids))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().states(token_ids, lengths, wanted)


def outcome(backbone, budget=Budget()):  # noqa: B008  immutable
    """Every row of a mixed batch of all kinds of options, and the order in which the rows were finished."""
    configs = [DecodingConfig.from_options(laid_out(options, 8)) for options in OPTIONS]
    plans = [plan_row(backbone, prompt, configs[i % len(configs)]) for i, prompt in enumerate(PROMPTS)]
    finished = [(i, row.generation(True)) for i, row in decode(Readout(backbone), enumerate(plans), budget)]
    return dict(finished), [i for i, _ in finished]


@pytest.fixture(scope="module")
def unlimited():
    return outcome(HashBackbone())[0]


@pytest.mark.parametrize("limit", [700, 300, 150, LARGEST_ROW])
def test_a_limit_of_memory_changes_no_result_and_wastes_no_pass(unlimited, limit):
    backbone = Limited(lambda number, tokens: tokens > limit)
    rows, order = outcome(backbone)
    assert rows == unlimited and sorted(order) == list(range(len(PROMPTS)))
    assert backbone.failed and max(sum(lengths) for lengths in backbone.passes) <= limit
    # Every canvas of every pass that went through is billed to a row, and nothing else is.
    assert sum(map(len, backbone.passes)) == sum(row.nfe for row in rows.values())


@pytest.mark.parametrize("seed", range(6))
def test_failures_at_any_moment_change_no_result(unlimited, seed):
    draws = random.Random(seed)
    backbone = Limited(lambda number, tokens: tokens > LARGEST_ROW and draws.random() < 0.25)
    rows, _ = outcome(backbone, Budget(max_rows=draws.choice([None, 9])))
    assert rows == unlimited and backbone.failed
    assert sum(map(len, backbone.passes)) == sum(row.nfe for row in rows.values())


def test_memory_that_ends_while_tokens_are_drawn_changes_no_result(monkeypatch):
    options = {"gen_length": 12, "block_length": 6, "temperature": 1.0, "k": 2}
    plans = [plan_row(HashBackbone(), prompt, DecodingConfig.from_options(options)) for prompt in PROMPTS[:5]]

    def rows():
        finished = dict(decode(Readout(HashBackbone()), enumerate(plans), Budget()))
        return [finished[i].generation(True) for i in range(len(plans))]

    unlimited, draw, calls = rows(), Readout.sample, []

    def limited(readout, *arguments):
        drawn = draw(readout, *arguments)
        calls.append(len(drawn))
        if len(calls) in (3, 6) and len(drawn) > 2:
            raise torch.OutOfMemoryError
        return drawn

    monkeypatch.setattr(Readout, "sample", limited)
    assert rows() == unlimited and calls[:6] == [10, 10, 10, 4, 4, 4]


@pytest.mark.parametrize("told", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling"])
def test_libraries_that_say_it_in_words_are_understood(unlimited, told):
    class Words(Limited):
        def states(self, *arguments):
            try:
                return super().states(*arguments)
            except torch.OutOfMemoryError:
                raise RuntimeError(told) from None

    assert outcome(Words(lambda number, tokens: tokens > 300))[0] == unlimited


def test_other_errors_of_a_pass_are_passed_on():
    class Broken(HashBackbone):
        def states(self, *arguments):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        outcome(Broken())


def test_memory_that_ends_while_logits_are_read_changes_no_result(unlimited):
    failed = []

    class LimitedHead(HashBackbone):
        calls = 0

        def head(self, states):
            self.calls += 1
            if self.calls in (3, 11, 12) and sum(self.passes[-1]) > LARGEST_ROW:
                failed.append(self.calls)
                raise torch.OutOfMemoryError
            return super().head(states)

    assert outcome(LimitedHead())[0] == unlimited and len(failed) > 1


def test_each_failure_halves_what_the_pass_held_and_the_rest_of_the_run_keeps_to_it(caplog):
    backbone = Limited(lambda number, tokens: number in (0, 5))
    with caplog.at_level(logging.WARNING, logger="lm_eval.mdlm"):
        outcome(backbone)
    first, second = backbone.failed
    after = [sum(lengths) for lengths in backbone.passes]
    assert len(after[:4]) == 4 and max(after[:4]) <= first // 2 < max(after[:4]) + 64  # as full as it may be
    assert max(after[4:]) <= second // 2
    assert [record.getMessage() for record in caplog.records] == [
        f"out of memory on cpu in a pass of {tokens} tokens: going on with at most {tokens // 2} per pass; results do "
        f"not change."
        for tokens in (first, second)
    ]


@pytest.mark.parametrize(
    ("failing", "passes"),
    [
        # After one pass of four, two go on; then the two set aside, with one step done, and only then the last two.
        ({1}, [4, *[2] * 6, *[2] * 6, *[2] * 7]),
        ({1, 2}, [4, *[1] * 6 * 4, *[1] * 7 * 2]),
    ],
)
def test_rows_set_aside_come_back_in_order_before_new_ones(failing, passes):
    backbone = Limited(lambda number, tokens: number in failing)
    backbone.read = scripted().read
    plans = [plan_row(backbone, [7], DecodingConfig.from_options({"gen_length": n})) for n in (7, 7, 7, 7, 7, 7)]
    finished = [(i, row.steps) for i, row in decode(Readout(backbone), enumerate(plans), Budget(max_rows=4))]
    assert finished == [(i, 7) for i in range(6)]
    assert list(map(len, backbone.passes)) == passes


def test_a_row_that_does_not_fit_alone_is_named():
    backbone = Limited(lambda number, tokens: tokens > 40)
    config = DecodingConfig.from_options({"gen_length": 24})
    plans = [plan_row(backbone, [7] * n, config) for n in (3, 30)]
    with pytest.raises(UsageError, match="a row of 54 canvas tokens .* memory of cpu, even alone; lower gen_length"):
        list(decode(Readout(backbone), enumerate(plans), Budget()))
    assert backbone.failed == [27 + 54, 54]


def test_other_errors_of_a_pass_are_not_taken_for_a_lack_of_memory():
    def broken(canvas):
        raise RuntimeError("device-side assert")

    backbone = ScriptedBackbone(broken, vocab_size=VOCAB, mask_token_id=MASK)
    plans = [plan_row(backbone, [7], DecodingConfig())] * 2
    with pytest.raises(RuntimeError, match="device-side assert"):
        list(decode(Readout(backbone), enumerate(plans), Budget()))
    assert len(backbone.passes) == 1


@pytest.mark.parametrize(
    ("free", "reserved", "allocated", "bytes_per_token", "expected"),
    [
        (10**6, 0, 0, 1000, 800),
        (10**6, 5 * 10**5, 10**5, 1000, 1120),  # 0.8 * (1,000,000 + 400,000) / 1000
        (10**12, 0, 0, 1000, 16384),
        (100, 0, 0, 1000, 1),  # a single row is tried all the same
    ],
)
def test_automatic_budget_is_a_share_of_free_memory(monkeypatch, free, reserved, allocated, bytes_per_token, expected):
    assert (SHARE_OF_FREE_MEMORY, MOST_TOKENS["cuda"]) == (0.8, 16384)
    backbone = HashBackbone()
    backbone.device, backbone.bytes_per_token = torch.device("cuda", 1), bytes_per_token
    memory = {"mem_get_info": (free, 2 * free), "memory_reserved": reserved, "memory_allocated": allocated}
    for name, value in memory.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value if device.index == 1 else None)
    assert budget_of(backbone, "auto") == Budget(max_tokens=expected)
    assert budget_of(backbone, "auto:4", 12) == Budget(max_rows=12, max_tokens=expected)
    assert budget_of(backbone, 12) == Budget(max_rows=12)


def test_automatic_budget_of_a_cpu_is_fixed():
    assert budget_of(HashBackbone(), "auto") == Budget(max_tokens=512)
