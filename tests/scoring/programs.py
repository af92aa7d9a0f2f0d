"""Programs for the sandbox's tests, and the test that judges them."""

import textwrap

from lm_eval_mdlm.scoring.sandbox import Limits, Verdict, run_check


TEST = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3\n"
RIGHT = "\ndef f(x):\n    return x + 1\n"
WRONG = "\ndef f(x):\n    return 2\n"


def verdict(program: str, test: str = TEST, **limits) -> Verdict:
    return run_check(program=textwrap.dedent(program), entry_point="f", test=test, limits=Limits(**limits))
