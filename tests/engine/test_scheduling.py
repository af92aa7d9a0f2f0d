"""A row's result does not depend on its company, and every pass is billed to the rows that were live."""

import random
from typing import Any

import pytest
import torch

from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.planning import plan_row
from tests.toy import ScriptedBackbone, _Direct


VOCAB, MASK = 40, 39


class HashBackbone(_Direct):
    """Logits that depend on the whole canvas, so that any leak between rows shows."""

    def __init__(self) -> None:
        super().__init__(VOCAB, MASK, end_token_ids=(1,))

    def read(self, canvas):
        seed = hash(tuple(canvas.tolist())) % 2**31
        return torch.randn(len(canvas), VOCAB, generator=torch.Generator().manual_seed(seed)) * 6


PROMPTS = [[random.Random(i).randrange(2, 38) for _ in range(3 + i % 7)] for i in range(23)]
OPTIONS = [
    {"sampler": "med", "entropy_threshold": 0.5},
    {"sampler": "fixed_k", "k": 3, "score": "random"},
    {"sampler": "confidence_factor", "temperature": 0.7},
    {"sampler": "entropy_bound", "entropy_bound": 0.5, "cfg_scale": 1.0},
    {"sampler": "fixed_k", "steps": 12, "stop_when_settled": True},
    {"sampler": "slow_fast", "confidence_threshold": 0.6, "slow_threshold": 0.5, "block_length": None},
    {"sampler": "ada_block", "delimiters": [*range(2, 20)], "confidence_threshold": 0.6, "temperature": 0.5},
    {"sampler": "sliding_block", "block_length": 5, "confidence_threshold": 0.6, "cfg_scale": 0.5},
    {"sampler": "dus", "remask_below": 0.7, "temperature": 1.0, "defer_end_of_text": True},
    {"sampler": "remdm", "remdm_loops": 4, "block_length": None, "stop_when_settled": True, "cfg_scale": 0.3},
    {"sampler": "med", "entropy_threshold": 2.0, "min_distance": 2.0, "defer_end_of_text": True, "temperature": 0.4},
    {"sampler": "klass", "confidence_threshold": 0.4, "kl_threshold": 30.0, "history": 1, "cfg_scale": 0.5},
    {"sampler": "credit", "confidence_threshold": 0.6, "temperature": 0.8},
    {"sampler": "local_leap", "confidence_threshold": 0.8, "relaxed_threshold": 0.5},
    {"sampler": "dream", "temperature": 0.4, "top_p": 0.9, "top_k": 12, "alg_temp": 0.2},
    {"sampler": "dream", "alg": "maskgit_plus", "steps": 9, "cfg_scale": 0.3},
]


def laid_out(options: dict[str, Any], block_length: int) -> dict[str, Any]:
    """With blocks of this length, unless the options say something of blocks or the sampler has none."""
    blocks = {} if options["sampler"] == "dream" else {"block_length": block_length}
    return {**blocks, "gen_length": 24, **options}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_results_do_not_depend_on_batch_size_or_order(options):
    options = {**laid_out(options, 10 if "steps" not in options else 8), "record_steps": True}
    prompts = PROMPTS[:9]
    alone = generate(HashBackbone(), prompts, batch_size=1, **options)
    for batch_size in (4, "auto"):
        assert generate(HashBackbone(), prompts, batch_size=batch_size, **options) == alone
    order = random.Random(1).sample(range(len(prompts)), len(prompts))
    shuffled = generate(HashBackbone(), [prompts[i] for i in order], batch_size=5, **options)
    assert [shuffled[order.index(i)] for i in range(len(prompts))] == alone
    fixed = {"k", "steps", "remdm_loops", "remask_below"} & {*options} or options["sampler"] == "dream"
    assert len({g.nfe for g in alone}) > 1 or fixed


def test_rows_with_different_options_share_a_pass_unchanged():
    backbone = HashBackbone()
    configs = [DecodingConfig.from_options(laid_out(o, 8)) for o in OPTIONS]
    plans = [plan_row(backbone, PROMPTS[i], config) for i, config in enumerate(configs)]
    together = dict(decode(Readout(backbone), enumerate(plans), Budget()))
    for i, plan in enumerate(plans):
        ((_, alone),) = decode(Readout(HashBackbone()), [(0, plan)], Budget())
        assert together[i].generation(True) == alone.generation(True)


def test_chunked_reading_changes_nothing():
    backbone = HashBackbone()
    options = DecodingConfig.from_options({"sampler": "med", "gen_length": 24, "temperature": 0.5, "cfg_scale": 0.5})
    plans = [plan_row(backbone, prompt, options) for prompt in PROMPTS[:6]]
    one_row_at_a_time = Readout(backbone, max_bytes=1)
    assert one_row_at_a_time.rows_per_chunk == 1
    whole = {i: row.generation(True) for i, row in decode(Readout(backbone), enumerate(plans), Budget())}
    assert {i: row.generation(True) for i, row in decode(one_row_at_a_time, enumerate(plans), Budget())} == whole


def test_logits_exist_for_a_bounded_number_of_rows_at_a_time():
    backbone = HashBackbone()
    sizes = []
    head = backbone.head
    backbone.head = lambda states: sizes.append(len(states)) or head(states)
    options = DecodingConfig.from_options({"gen_length": 24, "k": 24, "block_length": 24, "cfg_scale": 1.0})
    plans = [plan_row(backbone, prompt, options) for prompt in PROMPTS]
    bounded = Readout(backbone, max_bytes=28 * VOCAB * 10)
    list(decode(bounded, enumerate(plans), Budget()))
    assert set(sizes) == {5}  # 23 rows of 24 masks under guidance: always five of each kind, the last ones filled up
    assert len(sizes) == 2 * -(-23 * 24 // 5)


def scripted(certainty: float = 30.0) -> ScriptedBackbone:
    """Rows finish after prompt[0] masks are filled: the rest is end of text, which costs the same."""
    return ScriptedBackbone(lambda canvas: [5] * len(canvas), vocab_size=VOCAB, mask_token_id=MASK, certainty=certainty)


def test_finished_rows_leave_and_waiting_ones_take_their_place_at_once():
    backbone = scripted()
    lengths = [2, 9, 3, 4]
    configs = [DecodingConfig.from_options({"gen_length": n}) for n in lengths]
    plans = [plan_row(backbone, [7], config) for config in configs]
    finished = [(i, row.steps) for i, row in decode(Readout(backbone), enumerate(plans), Budget(max_rows=2))]
    assert finished == [(0, 2), (2, 3), (1, 9), (3, 4)]
    # Rows 0, 2 and 3 follow each other in the second place while row 1 decodes: no pass is half empty or idle.
    assert [len(p) for p in backbone.passes] == [2] * 9
    assert sum(row_steps for _, row_steps in finished) == sum(map(len, backbone.passes))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_results_do_not_depend_on_refill(options):
    backbone = HashBackbone()
    config = DecodingConfig.from_options(laid_out(options, 8))
    plans = [plan_row(backbone, prompt, config) for prompt in PROMPTS[:9]]

    def rows(budget):
        return {i: row.generation(True) for i, row in decode(Readout(backbone), enumerate(plans), budget)}

    assert rows(Budget(max_rows=4, refill=False)) == rows(Budget(max_rows=4)) == rows(Budget(max_tokens=100))


def test_without_refill_a_batch_ends_before_the_next_begins():
    backbone = scripted()
    configs = [DecodingConfig.from_options({"gen_length": n}) for n in (2, 9, 3, 4)]
    plans = [plan_row(backbone, [7], config) for config in configs]
    budget = Budget(max_rows=2, refill=False)
    assert [i for i, _ in decode(Readout(backbone), enumerate(plans), budget)] == [0, 1, 2, 3]
    assert [len(p) for p in backbone.passes] == [2] * 2 + [1] * 7 + [2] * 3 + [1]


@pytest.mark.parametrize(
    ("budget", "drawn_then"),
    [
        (Budget(max_rows=2), [2, 3, 4, 4]),
        (Budget(max_tokens=7), [3, 3, 4, 4]),  # rows of 3, 4, 5 and 6 tokens: at most one is held back
    ],
    ids=str,
)
def test_plans_are_not_drawn_ahead_of_their_turn(budget, drawn_then):
    backbone = scripted()
    drawn = []

    def queue():
        for i in range(4):
            drawn.append(i)
            yield i, plan_row(backbone, [7], DecodingConfig.from_options({"gen_length": 2 + i}))

    assert [(i, len(drawn)) for i, _ in decode(Readout(backbone), queue(), budget)] == list(enumerate(drawn_then))


def test_token_budget_bounds_every_pass_but_always_admits_one_row():
    backbone = scripted()
    plans = [plan_row(backbone, [7] * n, DecodingConfig.from_options({"gen_length": 4})) for n in (3, 3, 20, 3, 3, 3)]
    list(decode(Readout(backbone), enumerate(plans), Budget(max_tokens=15)))
    assert max(sum(p) for p in backbone.passes if len(p) > 1) <= 15
    assert [24] in backbone.passes


def test_guided_rows_count_twice_in_the_budget():
    backbone = scripted()
    options = DecodingConfig.from_options({"gen_length": 4, "cfg_scale": 1.0})
    plans = [plan_row(backbone, [7] * 4, options) for _ in range(2)]
    list(decode(Readout(backbone), enumerate(plans), Budget(max_tokens=31)))
    assert {len(p) for p in backbone.passes} == {2}


def test_unconditional_canvas_has_the_prompt_masked():
    seen = []
    backbone = ScriptedBackbone(lambda c: seen.append(c) or [5] * len(c), vocab_size=VOCAB, mask_token_id=MASK)
    generate(backbone, [[7, 8]], gen_length=2, cfg_scale=1.0)
    assert seen == [[7, 8, MASK, MASK], [MASK] * 4, [7, 8, 5, MASK], [MASK, MASK, 5, MASK]]


def test_settled_rows_stop_with_the_same_text():
    backbone = ScriptedBackbone(lambda c: [5, 5, 1, *[6] * (len(c) - 3)], vocab_size=VOCAB, mask_token_id=MASK)
    backbone.end_token_ids = (1,)
    slow = generate(backbone, [[7]], gen_length=12, k=2)[0]
    fast = generate(backbone, [[7]], gen_length=12, k=2, stop_when_settled=True)[0]
    assert (slow.nfe, fast.nfe) == (6, 1)
    assert slow.tokens == fast.tokens == 1
    assert fast.token_ids[2:] == [MASK] * 10


def test_nan_from_the_network_is_named():
    backbone = ScriptedBackbone(lambda c: [5] * len(c), vocab_size=VOCAB, mask_token_id=MASK, certainty=float("nan"))
    with pytest.raises(UsageError, match="returned NaN in dtype"):
        generate(backbone, [[7]], gen_length=2)


def test_long_prompt_is_cut_from_the_left_and_reported():
    backbone = scripted()
    backbone.max_length = 10
    seen = []
    backbone.script = lambda c: seen.append(c) or [5] * len(c)
    cut, whole = generate(backbone, [list(range(2, 12)), [3, 4]], gen_length=4, k=4, batch_size=1)
    assert (cut.truncated, whole.truncated) == (True, False)
    assert seen[0] == [6, 7, 8, 9, 10, 11, *[MASK] * 4]


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "at least one prompt"),
        ([[]], {}, "at least one token"),
        ([[VOCAB]], {}, "from 0 to 39, got 40"),
        (["text"], {}, "each prompt must be a list of token ids, got 'text'"),
        ([1, 2], {}, "each prompt must be a list of token ids, got 1"),
        ([[1]], {"gen_length": 10**12}, "leaves no room"),
        ([[1]], {"gen_length": 5000}, "leaves no room .* max_length=4096"),
        ([[1]], {"max_length": 5000}, "at most the checkpoint's 4096"),
        ([[1]], {"steps": 7, "gen_length": 64}, "steps must be a multiple"),
        ([[1]], {"until": ["x"]}, "until needs a tokenizer"),
        ([[1]], {"template": [{"text": "x"}, {"answer": 2}]}, "template text needs a tokenizer"),
        ([[1]], {"suppress_tokens": [99]}, "from 0 to 39, got 99"),
        ([[1]], {"suppress_tokens": list(range(40))}, "suppress_tokens must leave a token to propose, got all 40"),
        ([[1]], {"suppress_tokens": [i for i in range(40) if i != MASK] * 2}, "suppress_tokens must leave a token"),
        ([[1]], {"exit_threshold": 0.1}, "needs a template with an answer segment"),
        ([[1]], {"batch_size": 0}, "batch_size must be a whole number, at least 1, got 0"),
    ],
)
def test_bad_request_is_refused_before_the_first_pass(prompts, options, message):
    backbone = scripted()
    with pytest.raises(UsageError, match=message) as caught:
        generate(backbone, prompts, **options)
    assert backbone.passes == [] and "\n" not in str(caught.value)
