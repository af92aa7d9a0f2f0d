"""What is remembered of tokenizers: each result once, no more than allowed, and not beyond the tokenizer's life."""

import gc
import weakref

import pytest

from lm_eval_mdlm.canvas.tokenizers import once_per_tokenizer


class Letters:
    pass


class WithSlots:
    __slots__ = ()


class WithoutHash(Letters):
    __hash__ = None


def counting(most):
    asked = []

    @once_per_tokenizer(most)
    def spelt(tokenizer, text):
        asked.append((type(tokenizer), text))
        return text * 2

    return spelt, asked


def test_each_result_of_each_tokenizer_is_worked_out_once_as_long_as_there_are_not_too_many():
    spelt, asked = counting(most=2)
    one, other = Letters(), Letters()
    for text in "abab":
        assert spelt(one, text) == spelt(other, text) == 2 * text
    assert len(asked) == 4
    assert spelt(one, "c") == "cc" and spelt(one, "a") == "aa" and len(asked) == 6
    assert spelt(other, "a") == "aa" and len(asked) == 6


@pytest.mark.parametrize("kind", [WithSlots, WithoutHash])
def test_a_tokenizer_of_which_nothing_can_be_kept_is_asked_every_time(kind):
    spelt, asked = counting(most=2)
    tokenizer = kind()
    assert [spelt(tokenizer, "a") for _ in range(3)] == ["aa"] * 3
    assert len(asked) == 3


def test_a_tokenizer_goes_with_all_that_was_remembered_of_it():
    @once_per_tokenizer(most=2)
    def made(tokenizer):
        return Letters()

    tokenizer = Letters()
    held = [weakref.ref(tokenizer), weakref.ref(made(tokenizer))]
    assert None not in [one() for one in held]
    del tokenizer
    gc.collect()
    assert [one() for one in held] == [None, None]
