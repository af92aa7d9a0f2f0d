"""Text never yields the mask, whatever it holds; everything else is as the tokenizer has it."""

import random

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lm_eval_mdlm.canvas.encoding import TextEncoder
from lm_eval_mdlm.errors import UsageError
from tests.tiny import special_tokens


PIECES = ("Question: ", "1+1?", "\n", " ", "é", "日本", "<|", "|>", "mark", "<", "a b")


@pytest.fixture
def encoder(backbone) -> TextEncoder:
    return TextEncoder(backbone.tokenizer, backbone.mask_token_id)


def mask_text(encoder, backbone) -> str:
    return backbone.tokenizer.decode([backbone.mask_token_id], skip_special_tokens=False)


def test_text_without_a_mask_is_encoded_as_ever(encoder, backbone, family):
    drawn = random.Random(0)
    others = [token for token in special_tokens(family) if token != mask_text(encoder, backbone)]
    for _ in range(200):
        text = "".join(drawn.choices([*PIECES, *others], k=drawn.randint(0, 12)))
        for special in (True, False):
            encoded = encoder.encode(text, add_special_tokens=special)
            assert encoded == (backbone.tokenizer.encode(text, add_special_tokens=special), False)


def test_text_of_the_mask_becomes_ordinary_text_and_other_special_tokens_stay(encoder, backbone, family):
    drawn, mask = random.Random(1), mask_text(encoder, backbone)
    others = [token for token in special_tokens(family) if token != mask]
    for _ in range(200):
        pieces = drawn.choices([*PIECES, *others, mask], k=drawn.randint(0, 12))
        pieces.insert(drawn.randint(0, len(pieces)), mask)
        text = "".join(pieces)
        token_ids, held = encoder.encode(text, add_special_tokens=False)
        assert held and backbone.mask_token_id not in token_ids
        assert backbone.tokenizer.decode(token_ids, skip_special_tokens=False) == text
        ids = backbone.tokenizer.convert_tokens_to_ids
        for token in others:
            assert token_ids.count(ids(token)) == text.count(token)


def test_ordinary_text_is_what_a_tokenizer_without_the_mask_makes_of_it(encoder, backbone):
    # The characters of the mask as the byte-pair merges have them, not one by one.
    mask = mask_text(encoder, backbone)
    text = f"What is {mask}?"
    model_alone = tokenizers.Tokenizer.from_str(backbone.tokenizer.backend_tokenizer.to_str())
    model_alone.encode_special_tokens = True  # no added token is seen at all
    assert encoder.encode(text, add_special_tokens=False).token_ids == model_alone.encode(text).ids


def word_level(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def test_mask_that_is_a_word_of_the_vocabulary_is_taken_apart():
    encoder = TextEncoder(word_level({"<unk>": 0, "a": 1, "<mask>": 2, "m": 3}), mask_token_id=2)
    token_ids, held = encoder.encode("a <mask> a", add_special_tokens=False)
    assert held and 2 not in token_ids and token_ids[0] == token_ids[-1] == 1 and 3 in token_ids


def test_tokenizer_that_makes_masks_of_anything_is_refused():
    encoder = TextEncoder(word_level({"<unk>": 0}), mask_token_id=0)
    with pytest.raises(UsageError, match="makes the mask token 0 of the text"):
        encoder.encode("word", add_special_tokens=False)
