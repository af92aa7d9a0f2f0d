"""Where a trace is cut to be scored."""

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.traces.prefixes import Reasoning, parse_at


END = 0


def decode(ids):
    return "".join("" if token == END else chr(token) for token in ids)


def spelt(*texts, fill=0):
    """One segment per text, each with so many fillings behind it."""
    segments = [[ord(letter) for letter in text] + [END] * fill for text in texts]
    return Reasoning([token for own in segments for token in own], [len(own) for own in segments], (END,))


@pytest.mark.parametrize(
    ("at", "reasoning", "expected"),
    [
        ("0.25,0.5,0.75,1", spelt("abcdefgh"), [2, 4, 6, 8]),
        ("0.25,0.5,0.75,1", spelt("abcdefgh", fill=4), [2, 4, 6, 12]),
        ("0.5", spelt("abc", fill=1), [2, 4]),
        ("1,0", spelt("abc", fill=1), [0, 4]),
        ("0.1", spelt("abc"), [1, 3]),
        ("0.3", spelt("abcdefghij"), [3, 10]),
        ("0.5", spelt("ab", "cd", fill=2), [2, 8]),
        ("0.75", spelt("ab", "cd", fill=2), [5, 8]),
        ("0.5", spelt("", fill=3), [3, 3]),
        ("token", spelt("abc"), [0, 1, 2, 3]),
        ("token", spelt("ab", "c", fill=1), [0, 1, 2, 4, 5]),
        ("sentence", spelt("A b. C 3.5 d! E\nF", fill=1), [0, 4, 13, 16, 18]),
        ("sentence", spelt("A.\n\nB. "), [0, 2, 7]),
        ("sentence", spelt("no end"), [0, 6]),
    ],
    ids=str,
)
def test_prefixes(at, reasoning, expected):
    assert parse_at(at).of(reasoning, decode) == expected


@pytest.mark.parametrize("at", ["", "2", "-0.1", "0.5,x", "sentences", "nan", "0.5;1"])
def test_other_words_are_refused(at):
    with pytest.raises(UsageError, match="--at must be shares from 0 to 1 such as 0.25,0.5,0.75,1, or sentence"):
        parse_at(at)


def test_what_stands_behind_an_end_of_text_is_no_text_of_the_trace():
    reasoning = Reasoning([97, END, 98, 99, 100, END], [4, 2], (END,))
    assert reasoning.own == [0, 4]
    assert Reasoning([97, 98], [4, 2], (END,)).own == [0, 1]  # a trace that is shorter than its template
