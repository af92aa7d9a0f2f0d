"""Rules that go over any sampler, over every row of the table of samplers, whoever adds one."""

import random
from itertools import combinations

import pytest
import torch

from lm_eval_mdlm.canvas.vocabulary import vocabulary_fingerprint
from lm_eval_mdlm.decoding.policy import DecodingPolicy
from lm_eval_mdlm.decoding.wrapping import Wrapped
from lm_eval_mdlm.engine.decode import decode
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.frequencies import write_frequencies
from lm_eval_mdlm.options.samplers import SAMPLERS
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.planning import plan_row
from tests.engine.test_memory_limits import Limited
from tests.engine.test_published_loops import Letters
from tests.engine.test_scheduling import MASK, PROMPTS, VOCAB, HashBackbone


NEEDED = {"ada_block": {"delimiters": [5]}, "edit": {"edit_threshold": 1.0}, "remdm": {"remdm_loops": 4}}
"""Options that a backbone without a tokenizer cannot do without, one with which what was filled stays, fewer passes."""
ENDS = tuple(range(30))
"""So many that some passes propose nothing else."""


class Ending(HashBackbone):
    def __init__(self) -> None:
        super().__init__()
        self.end_token_ids = ENDS


class LimitedEnding(Limited):
    def __init__(self, fails) -> None:
        super().__init__(fails)
        self.end_token_ids = ENDS


def rows(sampler, backbone=None, prompts=PROMPTS[:5], **options):
    own = {"sampler": sampler, "gen_length": 17, **NEEDED.get(sampler, {}), **options}
    return generate(backbone or Ending(), prompts, record_steps=True, **own)


def passes(row):
    """Positions by the pass that filled them."""
    filled = {}
    for position, step in enumerate(row.commit_steps):
        filled.setdefault(step, []).append(position)
    return filled


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_pass_fills_positions_close_to_each_other(sampler):
    for row in rows(sampler, min_distance=3.0, entropy_threshold=9.0 if sampler == "med" else None):
        assert MASK not in row.token_ids and row.stop == "complete"
        for filled in passes(row).values():
            assert all(abs(a - b) >= 2 for a, b in combinations(filled, 2))


def test_distance_shrinks_with_the_masks_that_are_left():
    options = {"entropy_threshold": 99.0, "gen_length": 21, "block_length": 21, "min_distance": 7.0}
    for row in rows("med", **options):
        left = 21
        for _, filled in sorted(passes(row).items()):
            gap = max(2, left * 7 // 21)
            assert min((b - a for a, b in combinations(sorted(filled), 2)), default=gap) >= gap
            left -= len(filled)
    assert max(len(passes(row)) for row in rows("med", **options)) < 21


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_pass_fills_an_end_of_text_beside_another_token(sampler, temperature):
    ends = 0
    for row in rows(sampler, defer_end_of_text=True, temperature=temperature):
        assert MASK not in row.token_ids and row.stop == "complete"
        ends += sum(token in ENDS for token in row.token_ids)
        for filled in passes(row).values():
            assert len({row.token_ids[position] in ENDS for position in filled}) == 1
    assert ends or temperature  # a token that waits may be drawn otherwise in its next pass


def test_end_of_text_comes_only_where_nothing_else_is_proposed_in_the_block():
    backbone = Ending()
    options = {"defer_end_of_text": True, "block_length": 7, "gen_length": 21}
    for prompt, row in zip(PROMPTS, rows("confidence_threshold", **options), strict=False):
        region = [MASK] * 21
        for step, filled in sorted(passes(row).items()):
            block = range(filled[0] // 7 * 7, filled[0] // 7 * 7 + 7)
            argmax = backbone.read(torch.tensor([*prompt, *region]))[len(prompt) :, :MASK].argmax(-1).tolist()
            others = [i for i in block if region[i] == MASK and argmax[i] not in ENDS]
            assert not others or all(position in others for position in filled), step
            for position in filled:
                region[position] = row.token_ids[position]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_company_order_and_memory_change_nothing(sampler):
    over = {"defer_end_of_text": True, "min_distance": 1.5, "temperature": 0.7, "cfg_scale": 0.4}
    options = {"sampler": sampler, "gen_length": 12, **NEEDED.get(sampler, {}), **over}
    alone = rows(sampler, batch_size=1, **over, gen_length=12)
    assert rows(sampler, batch_size=3, **over, gen_length=12) == alone
    config, draws = DecodingConfig.from_options(options), random.Random(3)
    order = draws.sample(range(5), 5)
    largest = 2 * max(len(prompt) + 12 for prompt in PROMPTS[:5])
    backbone = LimitedEnding(lambda number, tokens: tokens > largest and draws.random() < 0.3)
    plans = [(i, plan_row(backbone, PROMPTS[i], config)) for i in order]
    found = {i: row.generation(True) for i, row in decode(Readout(backbone), plans, Budget())}
    assert [found[i] for i in range(5)] == alone and backbone.failed


def test_rows_may_take_all_passes_that_their_limit_leaves():
    assert {row.nfe for row in rows("dus", block_length=1, remask_below=1.0)} == {17}
    # In each block a pass that is not sure of anything, then one position a pass, the next being too close.
    held = rows("dus", block_length=4, gen_length=8, remask_below=1.0, min_distance=100.0)
    assert {row.nfe for row in held} == {10}
    assert {row.nfe for row in rows("remdm", gen_length=6, remdm_loops=5)} == {16}


def test_a_rule_over_samplers_hands_on_all_that_a_sampler_is():
    public = {name for name in vars(DecodingPolicy) if not name.startswith("_")}
    assert public <= set(vars(Wrapped))


def test_deferring_needs_an_end_of_text_token():
    backbone = HashBackbone()
    backbone.end_token_ids = ()
    with pytest.raises(UsageError, match="defer_end_of_text=True needs an end-of-text token, and"):
        generate(backbone, [[3]], defer_end_of_text=True)
    assert not backbone.passes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "ada_block"}, "delimiters needs a tokenizer, and the checkpoint has none"),
        ({"sampler": "ada_block", "delimiters": [VOCAB]}, "delimiters must be ids from 0 to 39, got 40"),
        ({"sampler": "ada_block", "delimiters": "ab"}, "delimiters must be single tokens, got 'ab', which is 2 tokens"),
        ({"score": "pc"}, "score=pc needs a tokenizer that lists its tokens"),
    ],
    ids=str,
)
def test_tokens_that_a_rule_cannot_have_are_refused_before_the_first_pass(options, message, tmp_path):
    backbone = HashBackbone()
    if "ab" in options.get("delimiters", ()):
        backbone.tokenizer = Letters()
    if options.get("score") == "pc":
        write_frequencies(tmp_path / "counts", "x", {1: 1})
        options = {**options, "token_frequencies": str(tmp_path / "counts")}
        backbone.tokenizer = object()
    with pytest.raises(UsageError, match=message) as caught:
        generate(backbone, [[3]], **options)
    assert backbone.passes == [] and "\n" not in str(caught.value)


def test_counts_of_another_tokenizer_are_refused(tmp_path):
    backbone = HashBackbone()
    backbone.tokenizer = Letters()
    options = {"score": "pc", "token_frequencies": str(tmp_path / "counts")}
    write_frequencies(tmp_path / "counts", "another", {1: 1})
    with pytest.raises(UsageError, match="token_frequencies must have been counted with the checkpoint's own"):
        generate(backbone, [[3]], **options)
    write_frequencies(tmp_path / "counts", vocabulary_fingerprint(backbone.tokenizer, "a test"), {1: 1})
    assert generate(backbone, [[3]], gen_length=4, **options)


WHOLE = {
    *("k", "k_max", "steps", "block_length", "max_slow_steps", "stable_window", "max_block_length", "skip"),
    *("history", "radius"),
}
HOMES = [
    (sampler, name)
    for sampler, known in SAMPLERS.items()
    for name in (*known.options, *known.shared)
    if name in WHOLE and (sampler, name) != ("dream", "steps")  # each of which is a pass
]


@pytest.mark.parametrize(("sampler", "name"), HOMES)
def test_the_largest_number_that_an_option_takes_is_as_good_as_a_large_one(sampler, name):
    def most(power):
        try:
            return DecodingConfig.from_options({"sampler": sampler, **NEEDED.get(sampler, {}), name: 2**power - 1})
        except UsageError:
            return None

    power = max(power for power in range(100) if most(power))
    assert rows(sampler, **{name: 2**power - 1}) == rows(sampler, **{name: 1000})
