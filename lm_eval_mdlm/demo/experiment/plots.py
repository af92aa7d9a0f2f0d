"""The figures of the page. Need matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...traces.plot import can_plot
from .arms import ARMS
from .figures import BaseFigures, mean_of


KINDS = {"posterior": "answer given", "own": "answer not given"}
"""Of traces, in words."""


def draw(bases: Sequence[BaseFigures], folder: Path) -> Mapping[str, Path]:
    """Draw what there is to see into SVG files, by caption; nothing without matplotlib."""
    if not can_plot():
        return {}
    from matplotlib import rcParams

    rcParams["svg.hashsalt"] = "lm_eval_mdlm"  # the same file for the same figures
    drawn = {
        "Accuracy of every arm: each base that passes the gate, and their mean": folder / "accuracy.svg",
        "Area under the ROC curve of the answer's score": folder / "areas.svg",
    }
    for paint, path in zip((_draw_accuracy, _draw_areas), drawn.values(), strict=True):
        paint(bases, path)
    return drawn


def _draw_accuracy(bases: Sequence[BaseFigures], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(reversed(ARMS)):
        mean = mean_of(bases, lambda base, arm=arm: base.arm(arm)["hit"])  # type: ignore[misc]
        own = [base.arm(arm)["hit"] for base in bases if base.passes]
        axes.plot(own, [place] * len(own), marker="o", linestyle="none", color="tab:blue", alpha=0.5)
        if mean is not None:
            axes.errorbar(mean.value, place, xerr=mean.standard_error, marker="|", markersize=16, color="black")
    axes.set_yticks(range(len(ARMS)), [arm.label for arm in reversed(ARMS)])
    axes.set(xlabel="test accuracy, percent; mean with its standard error over bases", xlim=(0, 100))
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def _draw_areas(bases: Sequence[BaseFigures], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, (kind, label) in zip(figure.subplots(1, 2, sharey=True), KINDS.items(), strict=True):
        for base in bases:
            known = {share: area for share, area in base.areas(kind).items() if area is not None}
            if base.passes:
                axes.plot(list(known), list(known.values()), marker="o", label=f"base {base.seed}")
        axes.axhline(0.5, linestyle=":", color="grey")
        axes.set(title=f"traces, {label}", xlabel="share of the trace", ylim=(0.3, 1.02))
    figure.axes[0].set_ylabel("area under the ROC curve")
    figure.axes[0].legend(loc="upper left", fontsize="small")
    figure.savefig(path, metadata={"Date": None})
