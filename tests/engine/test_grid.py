"""Block-causal decoding: rows against a plain decoder that never has later blocks on its canvas."""

import random
import re

import pytest
import torch
from lm_eval.utils import simple_parse_args_string

from lm_eval_mdlm.decoding.proposal import RowKey, gumbel_argmax
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.network import fitted
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.known import identity_of
from tests.engine.test_published_loops import Letters
from tests.published import Ways
from tests.slow import Slow
from tests.slow_grid import decode_on_grid
from tests.toy import RandomBackbone


VOCAB, ENDS = 13, (3,)
MASK = VOCAB - 1
SAMPLERS = [
    {"k": 1},
    {"k": 2, "score": "margin"},
    {"k": 1, "score": "left_to_right"},
    {"steps": 1},
    {"steps": 3, "score": "confidence"},
    {"steps": 40},
    {"sampler": "med", "entropy_threshold": 1.3},
    {"sampler": "entropy_bound", "entropy_bound": 1.0},
    {"sampler": "confidence_threshold", "confidence_threshold": 0.45},
    {"sampler": "confidence_factor", "factor": 1.5},
    {"sampler": "klass", "confidence_threshold": 0.2, "kl_threshold": 2.0, "history": 1},
    {"sampler": "credit", "confidence_threshold": 0.6},
    {"sampler": "local_leap", "confidence_threshold": 0.6, "relaxed_threshold": 0.3},
    {"sampler": "dus", "remask_below": 0.4},
    {"sampler": "edit", "confidence_threshold": 0.5, "edit_threshold": 0.3},
    {"sampler": "edit", "confidence_threshold": 0.3, "edit_threshold": 0.2, "max_edit_passes": 2},
    {"sampler": "edit", "max_edit_passes": 0},
]


def network(size) -> RandomBackbone:
    backbone = RandomBackbone(vocab_size=VOCAB, scale=1.8, end_token_ids=ENDS, grid_block=size)
    backbone.tokenizer = Letters()
    return backbone


def drawn_request(rng: random.Random) -> dict:
    """What a row may be asked, the sampler apart."""
    if rng.random() < 0.5:
        asked = {"gen_length": rng.randint(1, 14)}
    else:
        parts = [{"reasoning": rng.randint(1, 9)}, {"text": "abc"[: rng.randint(1, 3)]}, {"answer": rng.randint(1, 6)}]
        asked = {"template": parts + [{"reasoning": 3}] * (rng.random() < 0.3)}
        asked |= {"exit_threshold": rng.uniform(0.5, 9)} if rng.random() < 0.5 else {}
    asked |= {"cfg_scale": 0.6} if rng.random() < 0.3 else {}
    asked |= {"temperature": 0.8, "seed": rng.randint(0, 9)} if rng.random() < 0.3 else {}
    asked |= {"max_nfe": rng.randint(2, 9)} if rng.random() < 0.4 else {}
    asked |= {"min_distance": 0.5} if rng.random() < 0.2 else {}
    asked |= {"defer_end_of_text": True} if rng.random() < 0.2 else {}
    # With a template a row settles segment by segment, which the plain decoder knows nothing of.
    settles = "template" not in asked and rng.random() < 0.7
    return asked | ({} if settles else {"stop_when_settled": False})


def region_of(request) -> tuple[list[int], list[int]]:
    region, answer = [], []
    for segment in request.get("template", [{"reasoning": request.get("gen_length")}]):
        ((kind, value),) = segment.items()
        own = Letters().encode(value) if kind == "text" else [MASK] * value
        answer += range(len(region), len(region) + value) if kind == "answer" else ()
        region += own
    return region, answer


def expected(size, prompt, request, sampler):
    region, answer = region_of(request)
    key, temperature = RowKey.of(request.get("seed", 0), prompt, region, 0), request.get("temperature", 0.0)

    def draw(step, position, row):
        logits = torch.tensor([row], dtype=torch.float64)
        return int(gumbel_argmax(logits, [temperature], [key.seed("token", step, position)]))

    own = ("exit_threshold", "max_nfe", "defer_end_of_text", "min_distance")
    ways = Ways(
        ends=ENDS,
        answer=answer,
        draw=draw if temperature else None,
        stop_when_settled=request.get("stop_when_settled", True),
        **{name: request[name] for name in own if name in request},
    )
    backbone = network(None)
    slow = Slow(backbone.logits_of, MASK, cfg_scale=request.get("cfg_scale", 0.0), forbidden=[MASK])
    return decode_on_grid(slow, size, prompt, region, {"sampler": "fixed_k", **sampler}, ways)


def compare(rng: random.Random, sampler) -> str:
    """One row; how it ended."""
    size, request = rng.choice([1, 3, 4, 8]), drawn_request(rng)
    prompt = [rng.randrange(VOCAB - 1) for _ in range(rng.randint(1, 11))]
    backbone = network(size)
    (row,) = generate(backbone, [prompt], record_steps=True, **request, **sampler)
    text = expected(size, prompt, request, sampler)
    assert row.token_ids == text.region, (size, prompt, request)
    assert row.commit_steps == [text.committed_in.get(i) for i in range(len(text.region))]
    assert (row.nfe, row.stop, row.exit_step) == (text.steps * text.cost, text.stop, text.exit_step)
    entropy = text.answer_entropy
    assert row.answer_entropy == (None if entropy is None else pytest.approx(entropy, abs=1e-4)), (size, request)
    assert row.nfe_partial == 0 and sum(map(len, backbone.passes)) == row.nfe
    return row.stop


@pytest.mark.parametrize("number", range(len(SAMPLERS)))
def test_rows_are_those_of_a_plain_decoder_without_later_blocks(number):
    rng = random.Random(number)
    for _ in range(3):
        compare(rng, SAMPLERS[number])


@pytest.mark.slow
def test_many_rows_are_those_of_a_plain_decoder():
    rng = random.Random(99)
    stops = [compare(rng, rng.choice(SAMPLERS)) for _ in range(1500)]
    assert set(stops) == {"complete", "settled", "exit", "cap"}


def test_a_block_of_fewer_masks_goes_at_the_pace_of_a_full_one():
    (row,) = generate(network(8), [[1] * 5], gen_length=11, steps=4, stop_when_settled=False, record_steps=True)
    assert row.nfe == 2 + 4 and sorted(row.commit_steps) == [1, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_what_is_unset_is_the_familys_default_and_stands_in_the_record():
    on_grid = fitted(DecodingConfig(), grid_block=8, keeps=True)
    assert (on_grid.block_length, on_grid.cache, on_grid.stop_when_settled) == (8, "exact", True)
    assert fitted(on_grid, grid_block=8, keeps=True) == on_grid
    record = on_grid.effective()
    assert (record["block_length"], record["cache"], record["stop_when_settled"]) == (8, "exact", True)
    assert DecodingConfig.from_options({**record, "seed": 0}).effective() == {**record, "seed": 0}
    off = fitted(DecodingConfig(stop_when_settled=False, cache="none"), grid_block=8, keeps=True)
    assert (off.cache, off.stop_when_settled) == ("none", False)
    everywhere = fitted(DecodingConfig(), grid_block=None, keeps=True)
    assert (everywhere.block_length, everywhere.cache, everywhere.stop_when_settled) == (None, "none", False)


def test_the_word_none_turns_the_cache_off_also_after_the_harness_has_made_it_none():
    for written in ("none", simple_parse_args_string("cache=none")["cache"]):
        config = DecodingConfig.from_options({"cache": written})
        assert fitted(config, grid_block=8, keeps=True).cache == "none"


REFUSED = [
    ({"block_length": 16}, "block_length must be the checkpoint's own 8, got 16"),
    ({"cache": "prefix"}, "cache=prefix is approximate"),
    ({"cache": "dual"}, "cache=dual is approximate"),
    *(({"sampler": name}, f"sampler={name} has no fixed blocks") for name in ("sliding_block", "remdm", "dream")),
    ({"sampler": "slow_fast", "min_distance": 1.0}, "sampler=slow_fast has no fixed blocks"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=str)
def test_what_does_not_fit_a_grid_is_refused_in_one_line(options, words):
    with pytest.raises(UsageError, match=re.escape(words)) as found:
        fitted(DecodingConfig.from_options(options), grid_block=8, keeps=True)
    assert "\n" not in str(found.value)


def test_the_exact_cache_is_refused_where_it_cannot_be():
    with pytest.raises(UsageError, match="cache=exact needs a network whose tokens do not see later blocks"):
        fitted(DecodingConfig(cache="exact"), grid_block=None, keeps=True)
    with pytest.raises(UsageError, match="cache=exact is not for this network"):
        fitted(DecodingConfig(cache="exact"), grid_block=8, keeps=False)


def test_a_given_answer_is_seen_or_refused():
    backbone, template = network(8), [{"reasoning": 2}, {"text": "b"}, {"answer": 3}, {"reasoning": 4}]
    (row,) = generate(backbone, [[1, 1]], answers=[[4]], template=template)  # the answer ends with the first block
    assert row.token_ids[3:6] == [4, ENDS[0], ENDS[0]] and backbone.passes[0] == [8]
    with pytest.raises(UsageError, match="must end within the first block .* position 5 of the region here, got 6"):
        generate(backbone, [[1, 1, 1]], answers=[[4]], template=template)


def test_an_exit_on_a_grid_says_that_models_were_not_trained_for_it(caplog):
    template = [{"reasoning": 9}, {"answer": 3}]
    generate(network(4), [[1]] * 3, template=template, exit_threshold=1.0)
    assert caplog.text.count("which block-causal checkpoints were not trained for") == 1


def test_journals_keep_grids_apart():
    content = {size: identity_of(network(size)) for size in (None, 4, 8)}
    assert "grid_block" not in content[None] and content[4] != content[8]


def test_edits_leave_the_prompt_fixed_text_and_given_answers():
    template = [{"reasoning": 3}, {"text": "ab"}, {"answer": 2}, {"reasoning": 4}]
    options = {"sampler": "edit", "confidence_threshold": 0.2, "edit_threshold": 0.1, "max_edit_passes": 6}

    def decoded(**more):
        asked = {"answers": [[4]] * 12, "template": template, **options, **more}
        return generate(network(8), [[one] for one in range(12)], **asked)

    rows, unedited = decoded(), decoded(edit_threshold=1.0)
    fixed = [*Letters().encode("ab"), 4, ENDS[0]]
    assert all(row.token_ids[3:7] == fixed and row.stop in ("complete", "settled") for row in rows)
    assert sum(a.token_ids != b.token_ids for a, b in zip(rows, unedited, strict=True)) > 6
