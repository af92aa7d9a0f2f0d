"""Texts of others act neither on a terminal nor in a spreadsheet."""

import csv
import io

import pytest
from hypothesis import given, settings, strategies as st

from lm_eval_mdlm.showing.visible import spreadsheet_cell, visible


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(text):
    cell = spreadsheet_cell(text)
    assert cell.startswith("'") and cell.replace("'", "") == text


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("text", ["x;=1+1", "x\t=1+1", "x|-1", 'x;"=1+1"', "x\n=1", "x;＝1", "=1;=2", ";;@a"])
def test_no_separator_makes_a_formula_of_a_part(separator, text):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(["a", spreadsheet_cell(text), "b"])
    for row in csv.reader(io.StringIO(buffer.getvalue(), newline=""), delimiter=separator):
        assert not any(cell.lstrip('"')[:1] in set("=+-@＝") - {""} for cell in row)


@pytest.mark.parametrize("code", [0x061C, 0x200E, 0x200F, 0x202E, 0x2066])
def test_turns_of_the_reading_direction_are_spelt_out(code):
    assert visible(f"a{chr(code)}b") == f"a\\u{code:04x}b"


@pytest.mark.parametrize("value", [-1, -0.5, None, True, "plain", "a=b", " =1", "a; b=c", '{"k": [1, -2]}'])
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
