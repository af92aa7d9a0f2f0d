"""An answer that stands in its segment from the start: how it is laid out, and what becomes of it in the text."""

import pytest

from lm_eval_mdlm.canvas.template import Span, Template
from lm_eval_mdlm.canvas.text import Markers, TextRule
from lm_eval_mdlm.errors import UsageError
from tests.canvas.test_template import BOXED, MASK, encode
from tests.canvas.test_text import END, MASK as TEXT_MASK, decode, ids


def test_given_answer_stands_in_its_segment_and_nothing_is_left_to_decode_there():
    region = Template.parse(BOXED).lay_out(encode, MASK, [7, 8])
    assert region.token_ids == (MASK,) * 3 + tuple(encode("=>")) + (7, 8)
    assert region.spans == (Span("reasoning", 0, 3), Span("text", 3, 5, "=>"), Span("answer", 5, 7, given=True))
    assert region.answer_positions == ()
    assert [span.is_decoded for span in region.spans] == [True, False, False]


@pytest.mark.parametrize(
    ("token_ids", "filled"), [([], [1, 1, 1]), ([5], [5, 1, 1]), ([5, 6], [5, 6, 1]), ([5, 1, 7], [5, 1, 7])]
)
def test_segment_is_filled_up_with_end_of_text(token_ids, filled):
    template = Template.parse([{"reasoning": 2}, {"answer": 3}])
    assert template.padded_answer(token_ids, END) == filled


def test_exact_answer_needs_no_end_of_text_token():
    assert Template.parse(BOXED).padded_answer([5, 6], None) == [5, 6]


@pytest.mark.parametrize(
    ("template", "token_ids", "end", "message"),
    [
        (BOXED, [5, 6, 7], END, "answer of 3 tokens does not fit the template's answer segment of 2, and is never cut"),
        (BOXED, [5], None, "answer of 1 tokens leaves 1 of its segment's 2 to end-of-text tokens"),
        ([{"reasoning": 3}], [5], END, "exactly one answer segment, and this one has 0"),
        ([{"answer": 2}, {"text": "x"}, {"answer": 2}], [5], END, "exactly one answer segment, and this one has 2"),
    ],
)
def test_answer_that_cannot_stand_there_is_refused(template, token_ids, end, message):
    with pytest.raises(UsageError, match=message) as caught:
        Template.parse(template).padded_answer(token_ids, end)
    assert "\n" not in str(caught.value)


def rule(spans, *until: str, think_end: tuple[str, ...] = ()) -> TextRule:
    return TextRule(tuple(spans), TEXT_MASK, (END,), decode, Markers(until), think_end=Markers(think_end))


BEHIND = (Span("reasoning", 0, 4), Span("text", 4, 6, "=>"), Span("answer", 6, 9, given=True))
BEFORE = (Span("answer", 0, 3, given=True), Span("reasoning", 3, 7))
BETWEEN = (Span("reasoning", 0, 2), Span("answer", 2, 5, given=True), Span("reasoning", 5, 7))


@pytest.mark.parametrize(
    ("spans", "region", "until", "text", "tokens"),
    [
        (BEHIND, "abcd=>42$", (), "abcd=>42", 4),
        (BEHIND, "ab$d=>4$2", (), "ab=>4", 2),
        (BEHIND, "a__d=>42$", (), "ad=>42", 2),
        (BEHIND, "abcd=>425", ("2",), "abcd=>4", 4),
        (BEFORE, "42$abcd", (), "42abcd", 4),
        (BEFORE, "42$abcd", ("c",), "42ab", 2),
        (BEFORE, "42$abcd", ("2",), "4", 0),  # a stop string in a given answer cuts as in a decoded one
        (BEFORE, "42$abcd", ("2a",), "4", 0),
        (BETWEEN, "ab42$cd", ("d",), "ab42c", 3),
        (BETWEEN, "ab42$cd", ("2c",), "ab4", 2),
    ],
)
def test_given_answer_is_text_but_no_committed_token(spans, region, until, text, tokens):
    read = rule(spans, *until).read(ids(region))
    assert (read.text, read.num_tokens) == (text, tokens)


def test_given_answer_in_what_is_left_out_as_thinking_takes_nothing_off_the_count():
    spans = (
        Span("reasoning", 0, 1),
        Span("answer", 1, 3, given=True),
        Span("text", 3, 5, "tt"),
        Span("reasoning", 5, 8),
    )
    read = rule(spans, think_end=("tt",)).read(ids("m42ttabc"))
    assert (read.text, read.num_tokens) == ("abc", 3)


@pytest.mark.parametrize(
    ("spans", "region", "until", "settled"),
    [
        (BEHIND, "ab_d=>42$", (), False),
        (BEHIND, "ab_d=>42$", ("2",), False),  # the reasoning before it can still change
        (BEHIND, "a$__=>42$", (), True),
        (BEFORE, "42$____", (), False),
        (BEFORE, "42$____", ("2",), True),
        (BEFORE, "42$____", ("2", "42a"), False),  # "42a" may still be completed, and then comes first
        (BETWEEN, "a_42$__", ("4",), False),
        (BETWEEN, "ab42$__", ("4",), True),
    ],
)
def test_text_is_settled_once_nothing_decoded_can_change_it(spans, region, until, settled):
    assert rule(spans, *until).is_settled(ids(region)) is settled
