"""Every verdict falls either way, at its stated threshold, and names the option to change."""

import dataclasses
import re

import pytest

from lm_eval_mdlm.recordings import verdicts
from lm_eval_mdlm.recordings.certainty import Certainty, Quantiles
from lm_eval_mdlm.recordings.joint import Factorisation, Tightness
from lm_eval_mdlm.recordings.order import Order
from lm_eval_mdlm.recordings.stability import RuleStability
from lm_eval_mdlm.recordings.verdicts import verdicts_of


SOME = Quantiles(mean=2, p10=2, median=2, p90=2, largest=2, n=5)
CERTAINTY = Certainty(entropy=SOME, lone_entropy=SOME, lone_share=0, bound=SOME, safe_number=SOME, unsafe_share=0)
ORDER = Order(
    leftmost_share=1, mean_distance=0, kendall_tau=1, tokens_per_step=2, early_end_share=0, num_rows=3
)  # fmt: skip
ERROR = Factorisation(
    num_steps=9,
    error=SOME,
    error_se=0,
    bound=SOME,
    above_bound_share=0,
    mean_excess=0.5,
    stated_bound=None,
    above_stated_share=None,
    committed=SOME,
)
BOUND = Tightness(
    num_states=9,
    num_exits=3,
    bound=SOME,
    joint=SOME,
    joint_se=0,
    minus_log_p=2,
    ratio=1,
    pearson=1,
    spearman=1,
    above_share=0,
)
EXIT = RuleStability(
    rule="entropy", threshold=0.1, num_exits=40, changed_share=0.0, low=0.0, high=0.1, changed_of_rows=0, steps=5
)
MED = {"sampler": "med", "entropy_threshold": 0.2, "block_length": 32}
FIXED = {"sampler": "fixed_k", "k": 4, "block_length": 32}


def verdict(name, options, **changed):
    parts = {"order": ORDER, "certainty": CERTAINTY, "factorisation": ERROR, "tightness": BOUND, "own_exit": EXIT}
    parts |= {part: dataclasses.replace(parts[part], **fields) for part, fields in changed.items()}
    return next((own for own in verdicts_of(options, **parts) if own.name == name), None)


@pytest.mark.parametrize(
    ("name", "options", "part", "field", "threshold", "way", "says"),
    [
        (
            "flat",
            MED,
            "certainty",
            "lone_share",
            verdicts.FLAT,
            1,
            "flat for med.*raise entropy_threshold .now 0.2",
        ),
        ("fixed_k", FIXED, "certainty", "unsafe_share", verdicts.UNSAFE, 1, "k=4 is above the safe number.*set k=2"),
        ("ends_first", MED, "order", "early_end_share", verdicts.ENDS_FIRST, 1, "come first.*defer_end_of_text=True"),
        (
            "early",
            MED,
            "own_exit",
            "changed_share",
            verdicts.EARLY,
            1,
            "before the reasoning is.*lower exit_thresh",
        ),
        ("above_bound", MED, "factorisation", "above_bound_share", verdicts.ABOVE, 1, "lower entropy_threshold"),
        ("exit_bound", MED, "tightness", "above_share", verdicts.ABOVE, 1, "does not hold.*lower exit_threshold"),
        ("loose_bound", MED, "tightness", "ratio", verdicts.LOOSE, -1, "loose.*higher by up to 2.04 times"),
    ],
)
def test_each_is_found_beyond_its_threshold_and_not_before(name, options, part, field, threshold, way, says):
    beyond = verdict(name, options, **{part: {field: threshold + way * 0.01}})
    within = verdict(name, options, **{part: {field: threshold}})
    assert beyond.found and not within.found
    assert re.search(says, beyond.text) and not re.search(says, within.text)
    assert all("\n" not in own.text and own.text.endswith(".") for own in (beyond, within))


def test_what_does_not_apply_is_not_judged():
    assert verdict("flat", FIXED) is None and verdict("fixed_k", MED) is None
    assert verdict("fixed_k", FIXED, certainty={"safe_number": None}) is None  # k = 1 commits nothing together
    assert verdict("early", MED, own_exit={"changed_share": None}) is None
    assert verdict("loose_bound", MED, tightness={"ratio": None}) is None
    named = {own.name for own in verdicts_of(MED, ORDER, CERTAINTY)}
    assert named == {"flat", "ends_first"}  # without a model nothing else is known
    assert {own.name for own in verdicts_of(MED, None, CERTAINTY)} == {"flat"}


@pytest.mark.parametrize(
    ("rule", "says"),
    [("confidence", "raise exit_threshold"), ("stable", "raise"), ("logit_gap", "use exit_rule=entropy")],
)
def test_exits_of_other_rules_are_put_off_their_own_way(rule, says):
    threshold = None if rule == "logit_gap" else 2.0
    found = verdict("early", MED, own_exit={"rule": rule, "changed_share": 0.2, "threshold": threshold})
    assert says in found.text


def test_a_schedule_of_steps_is_named_by_them():
    found = verdict("fixed_k", {"sampler": "fixed_k", "steps": 64}, certainty={"unsafe_share": 0.9})
    assert found.text.startswith("steps=64 is above the safe number")
