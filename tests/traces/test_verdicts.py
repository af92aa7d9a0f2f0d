"""What a judge's reply says."""

import pytest

from lm_eval_mdlm.traces.verdicts import verdict_in


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("All steps hold.\nCORRECT", True),
        ("Step 2 is wrong.\n**INCORRECT**.", False),
        ("It may look CORRECT, but: INCORRECT", False),
        ("Not INCORRECT: CORRECT.", True),
        ("The answer is correct.", None),
        ("UNCORRECTED", None),
        ("", None),
    ],
)
def test_verdicts(reply, verdict):
    assert verdict_in(reply) is verdict
