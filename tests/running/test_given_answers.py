"""`generate` with answers and repeats: which record belongs to which prompt, what is refused, and what is said."""

import json

import pytest
import torch

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.generation import RowRequest, generate
from lm_eval_mdlm.running.journal import Journal
from lm_eval_mdlm.running.known import InJournal, identity_of
from tests.engine.test_scheduling import MASK, PROMPTS, VOCAB, HashBackbone


TEMPLATE = [{"reasoning": 5}, {"text": " so "}, {"answer": 6}]
BARE = [{"reasoning": 5}, {"answer": 3}]


def test_text_of_an_answer_is_tokenised_alone_and_filled_up_with_end_of_text(backbone):
    encode = backbone.tokenizer.encode
    (row,) = generate(backbone, [[5]], answers=["48"], template=TEMPLATE)
    tokens = encode("48", add_special_tokens=False)
    assert row.token_ids[-6:] == [*tokens, *[backbone.end_token_ids[0]] * (6 - len(tokens))]
    assert row.text.endswith(" so 48") and row.nfe == 5
    (by_ids,) = generate(backbone, [[5]], answers=[torch.tensor(tokens)], template=TEMPLATE)
    assert by_ids == row
    (other,) = generate(backbone, [[5]], answers=["49"], template=TEMPLATE)
    assert other.token_ids[-6:] != row.token_ids[-6:]


def test_text_of_the_mask_token_is_ordinary_text_and_a_line_says_in_how_many_rows(backbone, caplog):
    mask = backbone.tokenizer.decode([backbone.mask_token_id])
    template = [{"reasoning": 2}, {"answer": 16}]
    rows = generate(backbone, [[5]] * 5, answers=[f"a{mask}", None, "a", mask, mask], template=template)
    assert backbone.mask_token_id not in rows[0].token_ids and rows[0].text.endswith(f"a{mask}")
    assert [record.message for record in caplog.records] == [
        "the text of the mask token stands in the given answers of 3 of 5 rows, and was tokenised as ordinary text."
    ]


def test_repeats_come_prompt_by_prompt_and_the_first_ones_stay():
    options = {"template": BARE, "temperature": 9.0}
    answers = [[4], None, [5, 6]]
    once = generate(HashBackbone(), PROMPTS[:3], answers=answers, **options)
    thrice = generate(HashBackbone(), PROMPTS[:3], answers=answers, repeat=3, **options)
    assert thrice[::3] == once and len(thrice) == 9
    assert generate(HashBackbone(), PROMPTS[2:3], answers=answers[2:], repeat=3, **options) == thrice[6:]
    assert len({tuple(row.token_ids) for row in thrice}) == 9


def test_no_answers_and_answers_of_none_are_the_same():
    options = {"template": BARE, "temperature": 9.0}
    assert generate(HashBackbone(), PROMPTS, answers=[None] * len(PROMPTS), **options) == generate(
        HashBackbone(), PROMPTS, **options
    )


@pytest.mark.parametrize(
    ("options", "lines"),
    [({}, 1), ({"score": "random"}, 0), ({"temperature": 9.0}, 0), ({"repeat": 1}, 0), ({"sampler": "med"}, 1)],
    ids=str,
)
def test_a_line_says_that_samples_are_equal_where_nothing_is_drawn(caplog, options, lines):
    rows = generate(HashBackbone(), [[7]], **{"repeat": 2, "template": BARE, **options})
    said = [record for record in caplog.records if "all samples of a prompt are the same" in record.message]
    assert len(said) == lines
    assert (len(rows) > 1 and rows[0] == rows[1]) == bool(lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": [[4]]}, "answers must hold one text, list of token ids or None for each of the 2 prompts"),
        ({"answers": "42"}, "answers must hold one text"),
        ({"answers": [[4], 5]}, "each answer must be a text, a list of token ids, or None, got 5"),
        ({"answers": [[4], [1, 2, 3, 4]]}, "row 1, counted from 0: .* of 4 tokens does not fit .* segment of 3"),
        ({"answers": [[4], [MASK]]}, f"row 1, .* must not hold the mask token {MASK}"),
        ({"answers": [[VOCAB], None]}, f"row 0, .* must be from 0 to {VOCAB - 1}, got {VOCAB}"),
        ({"answers": [[-1], None]}, f"must be from 0 to {VOCAB - 1}, got -1"),
        ({"answers": ["4", None]}, "the text of an answer needs a tokenizer"),
        ({"template": None}, "needs a template with an answer segment, and there is none; set template"),
        ({"template": [{"reasoning": 4}]}, "exactly one answer segment, and this one has 0"),
        ({"template": [*BARE, {"answer": 2}]}, "exactly one answer segment, and this one has 2"),
        ({"repeat": 0}, "repeat must be a whole number, at least 1, got 0"),
        ({"steps": 7, "template": [{"reasoning": 40}, {"answer": 3}]}, "row 0, .* steps must be a multiple"),
    ],
    ids=str,
)
def test_bad_answers_are_refused_in_one_line_before_any_pass(change, message):
    backbone = HashBackbone()
    asked = {"answers": [[4], [5, 6, 7]], "template": BARE, **change}
    with pytest.raises(UsageError, match=message) as caught:
        generate(backbone, [[7], [8]], **asked)
    assert "\n" not in str(caught.value) and backbone.passes == []


def test_padding_needs_an_end_of_text_token():
    backbone = HashBackbone()
    backbone.end_token_ids = ()
    assert generate(backbone, [[7]], answers=[[4, 5, 6]], template=BARE)[0].token_ids[5:] == [4, 5, 6]
    with pytest.raises(UsageError, match="row 0, .* leaves 1 of its segment's 3 to end-of-text tokens"):
        generate(backbone, [[7]], answers=[[4, 5]], template=BARE)


def test_gen_length_counts_a_given_answer_as_one_to_decode():
    (row,) = generate(HashBackbone(), [[7]], answers=[[4]], template=BARE, gen_length=10)
    assert len(row.token_ids) == 10 and row.token_ids[7:] == [4, 1, 1] and row.nfe == 7


def test_prompt_is_cut_beside_the_whole_region():
    backbone = HashBackbone()
    backbone.max_length = 12
    (row,) = generate(backbone, [[7] * 9], answers=[[4]], template=BARE)
    assert row.truncated and {*map(tuple, backbone.passes)} == {(12,)}


def test_a_journal_tells_answers_apart(tmp_path):
    backbone = HashBackbone()
    config = DecodingConfig.from_options({"template": BARE})
    (record,) = generate(backbone, [[7]], answers=[[4]], template=BARE)

    def asked(answer):
        return RowRequest(prompt_ids=[7], config=config, answer=answer)

    with Journal.open(tmp_path) as journal:
        known = InJournal(journal, identity_of(backbone))
        known.add(asked([4]), record)
        assert known.find(asked([4])) == record
        assert [known.find(asked(answer)) for answer in (None, [5], "4")] == [None] * 3
    assert "answer" not in asked(None).content()
    assert json.loads(json.dumps(asked((4,)).content()))["answer"] == [4]
