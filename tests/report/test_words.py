import pytest

from lm_eval_mdlm.report.intervals import Interval
from lm_eval_mdlm.report.tables import Entry, Table, latex, markdown
from lm_eval_mdlm.report.words import Scale, passes, probability


SHARE, PLAIN = Scale(is_share=True), Scale(is_share=False)
HOSTILE = Table(
    title="a|b",
    columns=["x_1", "50 % & $"],
    rows=[[Entry("<b>", note="n = 3"), Entry("a\\b\nc`d`")]],
    remarks=["p < 0.05"],
)


def test_shares_are_written_in_per_cent_and_other_scores_as_they_are():
    assert SHARE.score(0.8731) == "87.3" and PLAIN.score(12.3456) == "12.35"
    assert SHARE.difference(-0.0231) == "−2.3" and PLAIN.difference(0.51234) == "+0.512"


def test_a_difference_that_rounds_to_nothing_has_no_sign():
    assert SHARE.difference(-0.0001) == SHARE.difference(0.0001) == "0.0"


def test_intervals_keep_their_order_and_signs():
    assert SHARE.interval_of_difference(Interval(-0.012, 0.058)) == "−1.2 to +5.8"
    assert SHARE.interval(None) == "–"


def test_small_probabilities_are_bounded_not_rounded_to_nothing():
    assert probability(0.0009) == "< 0.001" and probability(0.034) == "0.034" and probability(None) == "–"
    assert passes(24.05, 0.51) == "24.1 ± 0.5" or passes(24.05, 0.51) == "24.0 ± 0.5"


def test_markdown_keeps_one_line_and_the_same_columns_whatever_the_names_hold():
    heading, _, names, rule, row, *_ = markdown(HOSTILE).splitlines()
    assert heading == "### a\\|b" and "\\_" in names
    assert [line.replace("\\|", "").count("|") for line in (names, rule, row)] == [3, 3, 3]
    assert "<b>" not in row and "&lt;b&gt; (n = 3)" in row and "\\`" in row and "a\\\\b c" in row


@pytest.mark.parametrize("mark", ["&", "%", "$", "#", "_"])
def test_latex_escapes_what_it_would_read_as_a_command(mark):
    table = Table(title="t", columns=["a", f"b{mark}c"], rows=[[Entry("x"), Entry("y")]])
    assert f"b\\{mark}c" in latex(table)


def test_latex_has_booktabs_rules_and_as_many_columns_as_the_table():
    text = latex(HOSTILE)
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"\begin{tabular}{lr}" in text and r"\textbackslash{}" in text
