"""What a judge is asked about a trace, and what its reply says."""

import re


DEFAULT_PROMPT = """\
Below are a problem, its correct answer, and a solution that somebody wrote. Decide whether the solution's reasoning is
right: every step has to follow from the problem or from earlier steps, every calculation has to be correct, and the
steps have to lead to the correct answer. A solution that states the correct answer after a wrong or missing step is
incorrect.

Problem:
{{ prompt }}

Correct answer: {{ answer }}

Solution:
{{ solution }}

Check the steps one by one, briefly. Then end with one line that holds nothing but the word CORRECT or INCORRECT.
"""
"""A Jinja template over the keys of a trace's line."""
_VERDICT = re.compile(r"(?<![A-Za-z])(IN)?CORRECT(?![A-Za-z])")


def verdict_in(reply: str) -> bool | None:
    """What the last CORRECT or INCORRECT, in capitals, says; None where neither stands there."""
    found = _VERDICT.findall(reply)
    return not found[-1] if found else None
