"""`score_traces`: what is refused and how, what a journal keeps, and text in place of token ids."""

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.generation import RowRequest, generate
from lm_eval_mdlm.running.journal import Journal
from lm_eval_mdlm.running.known import InJournal, identity_of
from lm_eval_mdlm.running.trace_scoring import TraceScoreRequest, reasoning_of
from lm_eval_mdlm.running.traces import score_traces
from tests.engine.test_scheduling import MASK, VOCAB, HashBackbone


BARE = [{"reasoning": 5}, {"answer": 3}]


def test_text_of_an_answer_is_tokenised_alone(backbone):
    template = [{"reasoning": 5}, {"text": " so "}, {"answer": 6}]
    reasoning = backbone.tokenizer.encode("3 * 4", add_special_tokens=False)
    tokens = backbone.tokenizer.encode("12", add_special_tokens=False)
    by_text, by_ids = score_traces(backbone, [[5]] * 2, [reasoning] * 2, ["12", tokens], template=template)
    assert by_text == by_ids
    (other,) = score_traces(backbone, [[5]], [reasoning], ["13"], template=template)
    assert other.log_probs != by_text.log_probs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": None}, "trace 0, counted from 0: a given answer needs a template"),
        ({"template": [{"reasoning": 4}]}, "exactly one answer segment, and this one has 0"),
        ({"template": [*BARE, {"answer": 3}]}, "exactly one answer segment, and this one has 2"),
        ({"answers": [[4], []]}, "trace 1, .* at least one token, got an empty one"),
        ({"answers": [[4], [1, 2, 3, 4]]}, "trace 1, .* of 4 tokens does not fit .* segment of 3"),
        ({"answers": [[4], [MASK]]}, f"trace 1, .* must not hold the mask token {MASK}"),
        ({"answers": [[4]]}, "one entry for each trace, and at least one, got 2, 2, 1 and 2"),
        ({"reasoning": [[4], [5] * 6]}, "trace 1, .* of 6 reasoning tokens does not fit the 5 reasoning positions"),
        ({"reasoning": [[VOCAB], [5]]}, f"trace 0, .* from 0 to {VOCAB - 1}, got {VOCAB}"),
        ({"prefixes": [[0], [2]]}, "trace 1, .* prefixes of a trace must be from 0 to its 1 reasoning tokens, got 2"),
        ({"prefixes": [[-1], [1]]}, "trace 0, .* got -1"),
        ({"prefixes": [[1], []]}, "trace 1, .* got none"),
        ({"suppress_tokens": [5]}, "trace 1, .* suppress_tokens holds the token 5 of the gold answer"),
        ({"likelihood": "l2"}, "likelihood must be one of one_pass, l2r, got 'l2'"),
        ({"prompts": [[3], []]}, "trace 1, .* the prompt must hold at least one token"),
        ({"prompts": []}, "at least one, got 0"),
    ],
    ids=str,
)
def test_bad_traces_are_refused_in_one_line_before_any_pass(change, message):
    backbone = HashBackbone()
    asked = {"prompts": [[7], [8]], "reasoning": [[4], [9]], "answers": [[4], [5, 6]], "template": BARE, **change}
    with pytest.raises(UsageError, match=message) as caught:
        score_traces(backbone, asked.pop("prompts"), asked.pop("reasoning"), asked.pop("answers"), **asked)
    assert "\n" not in str(caught.value) and backbone.passes == []


def test_prompt_is_cut_beside_the_whole_region():
    backbone = HashBackbone()
    backbone.max_length = 12
    (cut,) = score_traces(backbone, [[3, *[7] * 8]], [[4, 5]], [[4]], template=BARE)
    assert cut.truncated and backbone.passes == [[12]]
    (kept,) = score_traces(backbone, [[7] * 4], [[4, 5]], [[4]], template=BARE)
    assert not kept.truncated and kept.log_probs == cut.log_probs


def test_reasoning_of_a_generation_is_what_stands_at_its_reasoning_positions():
    backbone = HashBackbone()
    template = [{"reasoning": 2}, {"answer": 2}, {"reasoning": 3}]
    (made,) = generate(backbone, [[7]], answers=[[4]], template=template)
    row = RowRequest(prompt_ids=[7], config=DecodingConfig.from_options({"template": template}), answer=[4])
    reasoning = reasoning_of(row.plan(backbone).region, made.token_ids)
    assert reasoning == [*made.token_ids[:2], *made.token_ids[4:]]
    (score,) = score_traces(backbone, [[7]], [reasoning], [[4]], template=template)
    assert score.prefix_tokens == (5,)


def test_answer_fills_its_segment_where_there_is_no_end_of_text_token():
    backbone = HashBackbone()
    backbone.end_token_ids = ()
    (full,) = score_traces(backbone, [[7]], [[4]], [[4, 5, 6]], template=BARE, likelihood="l2r")
    assert full.nfe == 3
    with pytest.raises(UsageError, match="leaves 1 of its segment's 3 to end-of-text tokens"):
        score_traces(backbone, [[7]], [[4]], [[4, 5]], template=BARE)


def test_a_journal_gives_scores_back_and_tells_requests_apart(tmp_path):
    backbone = HashBackbone()

    def asked(options=None, **change):
        config = DecodingConfig.from_options({"template": BARE, **(options or {})})
        usual = {"prompt_ids": [7], "config": config, "reasoning_ids": [4, 5], "answer": [4], "prefixes": (0, 2)}
        return TraceScoreRequest(**{**usual, **change})

    (record,) = score_traces(backbone, [[7]], [[4, 5]], [[4]], prefixes=[[0, 2]], template=BARE, journal=str(tmp_path))
    num_passes = len(backbone.passes)
    (again,) = score_traces(backbone, [[7]], [[4, 5]], [[4]], prefixes=[[0, 2]], template=BARE, journal=str(tmp_path))
    assert again == record and len(backbone.passes) == num_passes
    with Journal.open(tmp_path) as journal:
        known = InJournal(journal, identity_of(backbone))
        assert known.find(asked()) == record
        assert known.find(asked({"temperature": 1.0, "exit_threshold": 1.0, "k": 2})) == record  # no part of a score
        others = [
            {"prompt_ids": [8]},
            {"reasoning_ids": [4, 6]},
            {"answer": [5]},
            {"answer": "4"},
            {"prefixes": (0, 1)},
        ]
        assert [known.find(asked(**change)) for change in [*others, {"likelihood": "l2r"}]] == [None] * 6
        options = [{"cfg_scale": 1.0}, {"suppress_tokens": [9]}, {"max_length": 50}, {"gen_length": 9}]
        assert [known.find(asked(change)) for change in options] == [None] * 4
