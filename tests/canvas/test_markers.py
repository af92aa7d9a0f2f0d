"""Stop strings that hold special tokens, and thinking that is left out, over one character a token.

0 is the mask, 1 the end of text, capital letters are special tokens: `A` leaves no text, and is written <A>.
"""

import itertools
import random

import pytest

from lm_eval_mdlm.canvas.template import Span, free_region
from lm_eval_mdlm.canvas.text import Markers, TextRule


MASK, END = 0, 1


def ids(text: str) -> list[int]:
    return [{"_": MASK, "$": END}.get(c, ord(c)) for c in text]


def decode(token_ids: list[int]) -> str:
    return "".join(chr(t) for t in token_ids if t > 1 and not chr(t).isupper())


def write(token_ids: list[int]) -> str:
    return "".join(f"<{chr(t)}>" if chr(t).isupper() else chr(t) for t in token_ids if t > 1)


def markers(*strings: str) -> Markers:
    written = tuple(s for s in strings if "<" in s)
    return Markers(tuple(s for s in strings if "<" not in s), written)


def rule(spans, until=(), think_end=()) -> TextRule:
    return TextRule(tuple(spans), MASK, (END,), decode, markers(*until), write, markers(*think_end))


def free(text: str, *until: str, think_end=()) -> TextRule:
    return rule(free_region(len(text), MASK).spans, until, think_end)


def expected(region: str, until: tuple[str, ...]) -> str:
    """Token by token: what stands before the earliest place where a stop string matches."""
    tokens = [c for c in region.split("$")[0] if c != "_"]
    for i in range(len(tokens)):
        behind = tokens[i:]
        written = "".join(f"<{c}>" if c.isupper() else c for c in behind)
        plain = "".join(c for c in behind if not c.isupper())
        special_first = behind[0].isupper()
        if any(written.startswith(s) if "<" in s else (not special_first and plain.startswith(s)) for s in until):
            return "".join(c for c in tokens[:i] if not c.isupper())
    return "".join(c for c in tokens if not c.isupper())


@pytest.mark.parametrize(
    ("region", "until", "text", "tokens"),
    [
        ("abAcd", ("<A>",), "ab", 2),
        ("abAcdBe", ("<B>", "<A>c"), "ab", 2),
        ("abAcdBe", ("<B>", "<A>d"), "abcd", 4),
        ("abAcB", ("b<A>",), "a", 1),
        ("abAcB", ("bc",), "a", 1),  # an ordinary stop string is looked for in the text as it is returned
        ("abcd", ("<A>",), "abcd", 4),
        ("Aab", ("<A>",), "", 0),
        ("aB$A", ("<A>",), "a", 1),
        ("aAbA", ("<A>b<A>",), "a", 1),
    ],
)
def test_stop_string_with_a_special_token_cuts_where_that_stands(region, until, text, tokens):
    read = free(region, *until).read(ids(region))
    assert (read.text, read.num_tokens) == (text, tokens)


def test_any_stop_strings_cut_at_the_earliest_match():
    drawn = random.Random(0)
    stops = ["<A>", "<B>", "<A>a", "b<A>", "<A><B>", "ab", "b", "aa", "<C>", "a<B>b"]
    for _ in range(3000):
        region = "".join(drawn.choices("abAB_$", [5, 5, 2, 2, 1, 0.3], k=drawn.randint(0, 9)))
        until = tuple(drawn.sample(stops, k=drawn.randint(0, 3)))
        assert free(region, *until).read(ids(region)).text == expected(region, until), (region, until)


def test_text_that_counts_as_settled_is_the_same_however_its_masks_are_filled():
    drawn, settled = random.Random(1), 0
    stops = ["<A>", "<A>a", "b<A>", "<A><B>", "ab", "b", "ba<A>"]
    for _ in range(400):
        region = "".join(drawn.choices("abAB_$", [4, 4, 3, 3, 4, 1], k=drawn.randint(1, 6)))
        if region.count("_") > 3:
            continue
        own = free(region, *drawn.sample(stops, k=drawn.randint(1, 3)))
        if not own.is_settled(ids(region)):
            continue
        settled += "_" in region
        texts = set()
        for filling in itertools.product("abAB$", repeat=region.count("_")):
            left = iter(filling)
            texts.add(own.read(ids("".join(next(left) if c == "_" else c for c in region))).text)
        assert len(texts) == 1, (region, own.until)
    assert settled > 20


def test_stop_string_that_is_complete_settles_the_text():
    assert free("abA_", "<A>").is_settled(ids("abA_"))
    assert not free("ab_A", "<A>").is_settled(ids("ab_A"))
    assert not free("aA_", "a<A><B>", "<A>").is_settled(ids("aA_"))


@pytest.mark.parametrize(
    ("region", "until", "think_end", "text", "tokens"),
    [
        ("mmT ab", (), ("<T>",), "ab", 2),
        ("mmtt ab", (), ("tt",), "ab", 2),
        ("mtnt  abc", ("c",), ("t",), "ab", 2),  # behind the last one, blanks before the answer left out
        ("m.tab.c", (".",), ("t",), "ab", 2),  # a stop string in the thinking stops nothing
        ("mm.ab", (".",), ("<T>",), "mm", 2),  # thinking that never ends is the answer
        ("mmT..ab", ("..",), ("<T>",), "", 0),
        ("mm$T", (), ("<T>",), "mm", 2),
    ],
)
def test_thinking_is_left_out(region, until, think_end, text, tokens):
    read = free(region, *until, think_end=think_end).read(ids(region))
    assert (read.text, read.num_tokens) == (text, tokens)


def test_thinking_may_end_in_fixed_text():
    spans = (Span("reasoning", 0, 3), Span("text", 3, 5, "tt"), Span("answer", 5, 8))
    read = rule(spans, think_end=("tt",)).read(ids("mnotta.b"))
    assert (read.text, read.num_tokens) == ("a.b", 3)
    assert rule(spans, until=(".",), think_end=("tt",)).read(ids("m.otta.b")).text == "a"


def test_stop_string_settles_nothing_where_more_thinking_may_end_behind_it():
    assert not free("ab._", ".", think_end=("t",)).is_settled(ids("ab._"))
    assert free("ab$_", ".", think_end=("t",)).is_settled(ids("ab$_"))
