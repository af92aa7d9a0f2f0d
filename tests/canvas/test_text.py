"""Texts of docs/semantics.md section 8, over a tokenizer of one character a token: 0 is the mask, 1 the end of text."""

import itertools
import random

import pytest

from lm_eval_mdlm.canvas.template import Span, free_region
from lm_eval_mdlm.canvas.text import Markers, TextRule


MASK, END = 0, 1


def ids(text: str) -> list[int]:
    """`_` is a mask, `$` the end of text."""
    return [{"_": MASK, "$": END}.get(c, ord(c)) for c in text]


def decode(token_ids: list[int]) -> str:
    return "".join(chr(t) for t in token_ids if t > 1)


def rule(spans, *until: str) -> TextRule:
    return TextRule(tuple(spans), MASK, (END,), decode, Markers(until))


def free(text: str, *until: str) -> TextRule:
    return rule(free_region(len(text), MASK).spans, *until)


@pytest.mark.parametrize(
    ("region", "until", "text", "tokens"),
    [
        ("abc", (), "abc", 3),
        ("ab$c", (), "ab", 2),
        ("$abc", (), "", 0),
        ("abcd", ("c",), "ab", 2),
        ("abcd", ("cd", "bc"), "a", 1),
        ("ab$cd", ("d",), "ab", 2),
        ("a_b$", (), "ab", 2),
        ("abcd", ("",), "abcd", 4),
    ],
)
def test_free_text_ends_at_end_of_text_then_at_the_first_stop(region, until, text, tokens):
    read = free(region, *until).read(ids(region))
    assert (read.text, read.num_tokens) == (text, tokens)


SPANS = (Span("reasoning", 0, 4), Span("text", 4, 6, "=>"), Span("answer", 6, 9))


@pytest.mark.parametrize(
    ("region", "until", "text", "tokens"),
    [
        ("abcd=>42$", (), "abcd=>42", 6),
        ("ab$d=>4$2", (), "ab=>4", 3),
        ("a__d=>42_", (), "ad=>42", 4),
        ("abcd=>425", ("b", "=>"), "abcd=>425", 7),  # stops do not look at the reasoning or the fixed text
        ("abcd=>425", ("2",), "abcd=>4", 5),
        ("abcd=>425", ("4",), "abcd=>", 4),
    ],
)
def test_template_text_joins_segments_each_cut_at_its_own_end(region, until, text, tokens):
    read = rule(SPANS, *until).read(ids(region))
    assert (read.text, read.num_tokens) == (text, tokens)


def test_fixed_text_is_returned_as_written_not_as_its_tokens_decode():
    assert rule((Span("text", 0, 1, "\n $"), Span("answer", 1, 2))).read(ids("xy")).text == "\n $y"


def test_two_segments_after_the_last_fixed_text_are_searched_as_one():
    spans = (Span("text", 0, 1, "t"), Span("reasoning", 1, 3), Span("answer", 3, 5))
    read = rule(spans, "bc").read(ids("tabcd"))
    assert (read.text, read.num_tokens) == ("ta", 1)


def test_tokens_after_a_cut_are_the_fewest_that_hold_the_text():
    pieces = {10: "ab", 11: "cd", 12: "ef"}
    two = TextRule((Span("reasoning", 0, 3),), MASK, (END,), lambda t: "".join(pieces[i] for i in t), Markers(("d",)))
    read = two.read([10, 11, 12])
    assert (read.text, read.num_tokens) == ("abc", 2)


@pytest.mark.parametrize(
    ("region", "until", "text", "tokens"),
    [
        ("#a#b#", (), "ab", 2),
        ("##$a", (), "", 0),
        ("#ab#cd", ("c",), "ab", 2),  # the special token between leaves no text
        ("a#b=>#4", (), "a#b=>#4", None),
    ],
)
def test_special_tokens_leave_no_text_and_do_not_count(region, until, text, tokens):
    def silent(token_id: int) -> bool:
        return token_id == ord("#")

    def spoken(token_ids: list[int]) -> str:
        return decode([token for token in token_ids if not silent(token)])

    if tokens is None:
        spans = (Span("reasoning", 0, 3), Span("text", 3, 5, "=>"), Span("answer", 5, 7))
        text, tokens = "ab=>4", 3
    else:
        spans = free_region(len(region), MASK).spans
    read = TextRule(spans, MASK, (END,), spoken, Markers(until), write=decode).read(ids(region))
    assert (read.text, read.num_tokens) == (text, tokens)


def completions(region: list[int], alphabet: list[int]):
    holes = [i for i, t in enumerate(region) if t == MASK]
    for fill in itertools.product(alphabet, repeat=len(holes)):
        full = list(region)
        for i, t in zip(holes, fill, strict=True):
            full[i] = t
        yield full


@pytest.mark.parametrize("until", [(), ("ab",), ("b", "aa"), ("abb", "b"), ("ab", "bba")])
@pytest.mark.parametrize("spans", ["free", "template"])
def test_settled_means_that_no_completion_changes_the_text(until, spans):
    """Against all completions over {a, b, end}: exact for the free region, and never wrong with a template."""
    shapes = {
        "free": (Span("reasoning", 0, 5),),
        "template": (Span("reasoning", 0, 2), Span("text", 2, 3, "x"), Span("answer", 3, 6)),
    }
    alphabet = [ord("a"), ord("b"), END]
    rng = random.Random(0)
    reader = rule(shapes[spans], *until)
    length = reader.spans[-1].stop
    settled = 0
    for _ in range(250):
        region = [MASK if rng.random() < 0.35 else rng.choice(alphabet) for _ in range(length)]
        if spans == "template":
            region[2] = ord("x")
        texts = {reader.read(full).text for full in completions(region, alphabet)}
        if reader.is_settled(region):
            settled += 1
            # The text is read off the region as it stands: unfilled masks are dropped from it.
            assert texts == {reader.read(region).text}, region
        elif MASK in region and not until:
            assert len(texts) > 1, region
    assert settled > 10


def test_stop_string_that_a_longer_one_may_still_precede_is_not_settled():
    # "abb" began before "b" and may be completed: the text would then end at its "a".
    assert not free("ab_", "abb", "b").is_settled(ids("ab_"))
    assert free("ab_", "b").is_settled(ids("ab_"))


def test_unfinished_character_settles_nothing():
    torn = TextRule(
        (Span("reasoning", 0, 3),), MASK, (END,), lambda t: "a\ufffd" if len(t) == 1 else "aé", Markers(("\ufffd",))
    )
    assert not torn.is_settled([10, MASK, MASK])
