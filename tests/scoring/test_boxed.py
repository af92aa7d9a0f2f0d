import pytest

from lm_eval_mdlm.scoring.boxed import last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{18}.", "18"),
        (r"\boxed{1} and then \boxed{2} end", "2"),
        (r"\boxed{\frac{1}{2}} of {x}", r"\frac{1}{2}"),
        (r"\boxed { 3 }", "3"),
        (r"\fbox{4}", "4"),
        (r"\boxed{\left\{1, 2\right\}}}", r"\left\{1, 2\right\}"),
        (r"\boxed{}", ""),
        (r"\boxed{1} and \boxed{}", "1"),
        (r"\boxed{1}, so \boxed{ ", "1"),
        (r"\boxed{\boxed{3}}", "3"),
        ("no box, {18}", None),
    ],
)
def test_last_closed_box_ends_at_its_own_brace(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{18", "18"),
        ("\\boxed{18\n\nThe answer is 18", "18"),
        (r"\boxed{18. So there are 7", "18"),
        (r"\boxed{3.5", "3.5"),
        (r"\boxed{18$. I hope", "18"),
        (r"\boxed{$18$", "18"),
        (r"\boxed{\$18", r"\$18"),
        (r"\boxed{18\) for", "18"),
        (r"\boxed{\frac{1}{2} \] for", r"\frac{1}{2}"),
        ("\\boxed{\n18", "18"),
        (r"\boxed{", ""),
        (r"\boxed{1} and \boxed{2", "2"),
        (r"\boxed{-$3$ for", "-$3"),
        (r"\boxed{1 and \boxed{2", "2"),
        (r"\boxed{1 and \boxed{", "1 and"),
    ],
)
def test_box_that_is_never_closed_ends_with_its_line_formula_or_sentence(text, content):
    assert last_boxed(text) == content
