"""Numbers and flags on a command line: what is taken as which value, and what is refused with the rule."""

import argparse

import pytest

from lm_eval_mdlm.commands.arguments import above_zero, flag, natural, positive


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        *(
            (natural, "0", 0),
            (natural, " 7", 7),
            (positive, "1", 1),
            (above_zero, "0.25", 0.25),
            (above_zero, "1e3", 1000),
        ),
        *((flag, "true", True), (flag, "False", False)),
    ],
)
def test_what_is_written_is_read(kind, text, value):
    assert kind(text) == value and type(kind(text)) in (bool, int, float)


@pytest.mark.parametrize(
    ("kind", "text", "rule"),
    [
        *((natural, "-1", "at least 0"), (positive, "0", "at least 1"), (flag, "1", "true or false")),
        *((above_zero, text, "above 0") for text in ("0", "-1", "nan", "inf", "1e999")),
    ],
)
def test_what_breaks_a_rule_is_refused(kind, text, rule):
    with pytest.raises(argparse.ArgumentTypeError, match=rule):
        kind(text)


@pytest.mark.parametrize("kind", [natural, positive, above_zero])
def test_what_is_no_number_is_left_to_argparse(kind):
    """It turns a ValueError into its own line."""
    with pytest.raises(ValueError, match="."):
        kind("many")
