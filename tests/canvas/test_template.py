import json

import pytest

from lm_eval_mdlm.canvas.template import EXAMPLE, FilledText, Span, Template, free_region
from lm_eval_mdlm.errors import UsageError


MASK = 999
BOXED = [{"reasoning": 3}, {"text": "=>"}, {"answer": 2}]


def encode(text: str) -> list[int]:
    return [ord(c) for c in text]


def test_region_holds_masks_and_fixed_tokens_in_order():
    region = Template.parse(BOXED).lay_out(encode, MASK)
    assert region.token_ids == (MASK,) * 3 + tuple(encode("=>")) + (MASK,) * 2
    assert region.spans == (Span("reasoning", 0, 3), Span("text", 3, 5, "=>"), Span("answer", 5, 7))
    assert region.answer_positions == (5, 6)


def test_gen_length_counts_masks_only():
    assert Template.parse(BOXED).gen_length == 5
    assert Template.parse(EXAMPLE).gen_length == 256


def test_json_text_means_the_same_as_the_list():
    assert Template.parse(json.dumps(BOXED)) == Template.parse(BOXED)


def test_resizing_changes_the_reasoning_only():
    resized = Template.parse(BOXED).resized(9)
    assert [s.length for s in resized.segments] == [7, 0, 2]
    assert resized.gen_length == 9


def test_free_region_is_one_span_of_masks():
    region = free_region(4, MASK)
    assert region.token_ids == (MASK,) * 4 and region.answer_positions == ()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("[{'reasoning': 3}]", "must be JSON"),
        ({"reasoning": 3}, "must be a list"),
        (5, "must be a list"),
        ([], "must hold masks"),
        ([{"text": "a"}], "must hold masks"),
        ([{"reasoning": 0}], "segment 1: reasoning must be a number of masks, at least 1, got 0"),
        ([{"answer": 2.5}], "segment 1: answer must be"),
        ([{"answer": True}], "segment 1: answer must be"),
        ([{"answer": 2}, {"text": ""}], "segment 2: text must be"),
        ([{"answer": 2}, {"text": 3}], "segment 2: text must be"),
        ([{"anwser": 2}], "did you mean 'answer'"),
        ([{"answer": 2, "text": "x"}], "exactly one of the keys"),
        (["answer"], "exactly one of the keys"),
    ],
)
def test_bad_template_is_refused_by_segment(raw, message):
    with pytest.raises(UsageError, match=message) as caught:
        Template.parse(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "gen_length", "message"),
    [
        ([{"reasoning": 2}, {"text": "x"}, {"reasoning": 2}], 9, "needs exactly one reasoning"),
        ([{"answer": 2}], 9, "needs exactly one reasoning"),
        (BOXED, 2, "leaves 0 masks .* at least 3"),
    ],
)
def test_resizing_that_is_ambiguous_or_impossible_is_refused(raw, gen_length, message):
    with pytest.raises(UsageError, match=message):
        Template.parse(raw).resized(gen_length)


@pytest.mark.parametrize("text", ["{{suffix}}", "a {{ b }} c", "\\boxed{{x}", "{{"])
def test_field_of_a_document_is_refused_where_there_is_no_document(text):
    with pytest.raises(UsageError, match="stands for a field of the document only in a task's YAML"):
        Template.parse([{"text": text}, {"answer": 1}])
    filled = Template.parse([{"text": FilledText(text)}, {"answer": 1}])  # a document's own braces are text
    assert filled.segments[0].text == text
