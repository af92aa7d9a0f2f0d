"""Texts of others act neither on a terminal nor in a spreadsheet."""

import csv
import io

import pytest
from hypothesis import given, settings, strategies as st

from lm_eval_mdlm.showing.visible import spreadsheet_cell, visible


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(text):
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-1, -0.5, None, True, "plain", "a=b", " =1"])
def test_numbers_and_plain_texts_stay_as_they_are(value):
    assert spreadsheet_cell(value) == value


@settings(max_examples=300, database=None, derandomize=True, deadline=None)
@given(st.text())
def test_no_character_acts_on_a_terminal_and_no_cell_is_a_formula(text):
    shown = visible(text)
    assert all(ord(one) >= 32 or one in "\n\t" for one in shown)
    assert not any(0x7F <= ord(one) < 0xA0 or 0xD800 <= ord(one) < 0xE000 for one in shown)
    shown.encode("utf-8")
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow([spreadsheet_cell(shown)])
    (cell,) = next(csv.reader(io.StringIO(buffer.getvalue(), newline="")))
    assert cell[:1] not in set("=+-@\t\r\n")
