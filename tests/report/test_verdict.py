"""What is said of runs whose outcome is known."""

from lm_eval_mdlm.report.boards import study_of
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.summary import default_baseline, summarise
from lm_eval_mdlm.report.verdict import verdict
from tests.report.by_hand import write_run


def said(folder, baseline=None):
    (board,) = study_of(read_folders([folder]).runs).boards
    return " ".join(verdict(summarise(board, baseline or default_baseline(board))))


def write(folder, name, right, n=200, nfe=8.0, **options):
    write_run(folder / name, [1] * right + [0] * (n - right), nfe=nfe, gen_kwargs={"way": name}, **options)


def test_a_difference_that_chance_makes_is_not_called_one(tmp_path):
    write(tmp_path, "slow", 150, nfe=64.0)
    write(tmp_path, "quick", 152)
    text = said(tmp_path)
    assert "Best of 2 methods: quick, acc 76.0 % at 8.0 forward passes per row" in text
    assert "+1.0 points" in text and "McNemar's exact p = 0.500): not a significant difference." in text
    assert "significantly better" not in text and "significantly worse" not in text.lower()
    assert "None takes fewer passes." in text


def test_a_large_difference_is_called_one(tmp_path):
    write(tmp_path, "slow", 100, nfe=64.0)
    write(tmp_path, "quick", 150)
    assert "+25.0 points" in said(tmp_path) and ": significantly better." in said(tmp_path)


def test_p_is_told_after_adjustment_where_several_are_compared(tmp_path):
    write(tmp_path, "slow", 150, nfe=64.0)
    write(tmp_path, "best", 156)
    write(tmp_path, "other", 150)
    text = said(tmp_path)
    assert "McNemar's exact p = 0.031, after Holm over 2 methods = 0.062): not a significant difference." in text


def test_cheaper_methods_that_are_worse_are_told(tmp_path):
    write(tmp_path, "slow", 150, nfe=64.0)
    write(tmp_path, "quick", 100)
    text = said(tmp_path)
    assert "It is the baseline itself. Significantly worse than the baseline: quick." in text
    assert "Methods with fewer passes are significantly worse." in text


def test_methods_on_other_problems_are_said_not_to_be_comparable(tmp_path):
    write(tmp_path, "slow", 150, nfe=64.0)
    write(tmp_path, "quick", 100, documents=[f"other {i}" for i in range(200)])
    text = said(tmp_path)
    assert "Not to be compared with it: quick." in text and "significantly" not in text
    write(tmp_path, "quick", 200, documents=[f"other {i}" for i in range(200)])
    assert "nothing can be said: they have no problem, or no prompt, in common" in said(tmp_path, "slow")


def test_left_out_problems_few_problems_and_other_words_are_said(tmp_path):
    write(tmp_path, "slow", 30, n=40, nfe=64.0)
    write(tmp_path, "quick", 20, n=30, prompt="other")
    text = said(tmp_path)
    assert "no more than 30 problems" in text
    assert "up to 10 are left out" in text
    assert "Asked in other words than the baseline: quick; the prompt is part of that difference." in text


def test_many_problems_in_the_same_words_need_no_caution(tmp_path):
    write(tmp_path, "slow", 150, nfe=64.0)
    write(tmp_path, "quick", 152)
    text = said(tmp_path)
    assert "few differences" not in text and "left out" not in text and "other words" not in text


def test_one_method_has_its_score_alone(tmp_path):
    write(tmp_path, "only", 150)
    text = said(tmp_path)
    assert text.startswith("The only method: only, acc 75.0 %") and "baseline" not in text
