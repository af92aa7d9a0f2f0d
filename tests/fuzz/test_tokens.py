"""What tokenizers put out, and texts that go in: no text is the mask, and any tokens become text."""

from hypothesis import strategies as st

from lm_eval_mdlm.canvas.encoding import TextEncoder
from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.canvas.text import Markers, TextRule
from tests.fuzz.inputs import fuzz, sizes, told
from tests.tiny import special_tokens


SEGMENTS = st.lists(
    st.sampled_from([{"reasoning": 3}, {"text": "The answer is "}, {"answer": 2}, {"text": "<"}, {"reasoning": 1}]),
    min_size=1,
    max_size=4,
)
MARKS = st.lists(st.sampled_from(["\n", "a", "aa", "<|endoftext|>", "</", "\ufffd", "", "e a"]), max_size=3).map(tuple)


@sizes(250, 12_000)
def test_any_tokens_of_a_region_become_text_and_counts_that_fit(number, backbones):
    backbone = backbones["llada"]
    tokenizer, mask = backbone.tokenizer, backbone.mask_token_id

    def check(segments, ids, plain, written, think):
        template = told(lambda: Template.parse(segments))
        if template is None:
            return
        region = template.lay_out(lambda text: tokenizer.encode(text, add_special_tokens=False), mask)
        filled = [ids[i % len(ids)] if own == mask else own for i, own in enumerate(region.token_ids)]
        rule = TextRule(
            spans=region.spans,
            mask_token_id=mask,
            end_token_ids=backbone.end_token_ids,
            decode=lambda own: tokenizer.decode(own, skip_special_tokens=True),
            write=lambda own: tokenizer.decode(own, skip_special_tokens=False),
            until=Markers(plain, written),
            think_end=Markers(think),
        )
        found, is_settled = rule.read(filled), rule.is_settled(filled)
        assert 0 <= found.num_tokens <= sum(own != mask for own in filled)
        if is_settled:  # nothing that is still to come changes the text
            later = [backbone.end_token_ids[0] if own == mask else own for own in filled]
            assert rule.read(later).text == found.text

    ids = st.integers(0, backbone.vocab_size - 1) | st.sampled_from([mask, *backbone.end_token_ids])
    fuzz(number, check, SEGMENTS, st.lists(ids, min_size=1, max_size=12), MARKS, MARKS, MARKS)


@sizes(250, 10_000)
def test_no_text_becomes_the_mask(number, backbones):
    def check(pieces, family):
        backbone = backbones[family]
        encoder = TextEncoder(backbone.tokenizer, backbone.mask_token_id)
        encoded = told(lambda: encoder.encode("".join(pieces), add_special_tokens=False))
        assert encoded is None or backbone.mask_token_id not in encoded.token_ids

    marks = [token for family in backbones for token in special_tokens(family)]
    pieces = st.sampled_from([*marks, *(mark[:-2] for mark in marks), "|>", "<|", "\U000f0000"])
    text = pieces | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    fuzz(number, check, st.lists(text, max_size=5), st.sampled_from(sorted(backbones)))
