"""The exit rules by name, and what each makes of `exit_threshold`."""

from collections.abc import Callable, Mapping
from typing import Any

from ..decoding.exits import ConfidenceExit, EntropyExit, ExitRule, LogitGapExit, StableExit
from ..errors import UsageError


def _entropy(threshold: float | None) -> ExitRule:
    if threshold is None:
        raise UsageError("exit_rule=entropy needs exit_threshold, in nats; set it, or leave exit_rule out.")
    return EntropyExit(threshold)


def _confidence(threshold: float | None) -> ExitRule:
    if threshold is None or threshold > 1:
        raise UsageError(f"exit_rule=confidence needs exit_threshold, from 0 to 1, got {threshold}; correct it.")
    return ConfidenceExit(threshold)


def _logit_gap(threshold: float | None) -> ExitRule:
    if threshold is not None:
        raise UsageError(
            f"exit_threshold={threshold:g} would be ignored by exit_rule=logit_gap, whose levels are fixed; leave it "
            f"out (exit_threshold=None takes a task's away)."
        )
    return LogitGapExit()


def _stable(threshold: float | None) -> ExitRule:
    if threshold is None or threshold < 1 or not float(threshold).is_integer():
        raise UsageError(
            f"exit_rule=stable needs exit_threshold, a number of passes from 1 on, got {threshold}; correct it."
        )
    return StableExit(int(threshold))


EXIT_RULES: Mapping[str, Callable[[float | None], ExitRule]] = {
    "entropy": _entropy,
    "confidence": _confidence,
    "logit_gap": _logit_gap,
    "stable": _stable,
}
"""From `exit_threshold`, None where it is unset, to the rule; UsageError if they do not fit."""
OPTIONS = ("exit_rule", "exit_threshold")


def check_units(*places: Mapping[str, Any]) -> None:
    """Refuse a threshold that another rule would read than the one it was given for, as nats for a probability.

    Args:
        places: The options of each place where some may be, those that win last. A place that gives a threshold without
            a rule means the entropy, as one that is alone does.

    Raises:
        UsageError: If the rule that wins is not the one of the place whose threshold wins.
    """
    rule = threshold = unit = None
    for place in places:
        rule = place.get("exit_rule", rule)
        if "exit_threshold" in place:
            threshold, unit = place["exit_threshold"], place.get("exit_rule")
    rule, unit = rule or "entropy", unit or "entropy"
    if threshold is not None and rule not in (unit, "logit_gap"):  # which takes none, and says so
        raise UsageError(
            f"exit_threshold={threshold} was given for exit_rule={unit} and would be read by exit_rule={rule}, in "
            f"another unit; give both in one place."
        )
