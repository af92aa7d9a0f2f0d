"""The summary as a figure: area under the curve over the share of the trace, and calibration. Needs matplotlib."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(summary: Mapping[str, Any], path: Path) -> None:
    """Draw a summary with a label into a file, whose kind follows from its name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    known = [point for point in summary["at"] if point["auc"] is not None]
    shares, areas = [point["share"] for point in known], [point["auc"] for point in known]
    left.fill_between(shares, [point["low"] for point in known], [point["high"] for point in known], alpha=0.25)
    left.plot(shares, areas, marker="o")
    left.axhline(0.5, linestyle=":", color="grey")
    label = summary["label"]
    left.set(
        xlabel="share of the trace", ylabel="area under the ROC curve, 95 % interval", ylim=(0, 1), xlim=(-0.02, 1.02)
    )
    left.set_title(f"{label['right']} of {label['n']} right by {label['name']}")
    bins = summary["calibration"]
    right.plot([0, 1], [0, 1], linestyle=":", color="grey")
    right.plot([one["probability"] for one in bins], [one["right"] for one in bins], marker="o", linestyle="none")
    right.set(xlabel="mean probability of the gold answer", ylabel="share of right traces", xlim=(0, 1), ylim=(0, 1))
    right.set_title("whole trace, bins of equal size")
    figure.savefig(path, dpi=150)
