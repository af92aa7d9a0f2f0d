"""Error against passes as a figure, a panel for each joint. Needs matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.laboratory.measures import number
from benchmarks.report import Value


PANELS = ("TV", "KL")


def draw(lines: Sequence[Mapping[str, Value]], path: Path) -> None:
    """Draw the lines of the report: total variation above, divergence below, a column for each joint.

    Samplers of which samples alone are known are dashed, and have no divergence.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    joints, samplers = ([*dict.fromkeys(line[name] for line in lines)] for name in ("joint", "sampler"))
    figure = Figure(figsize=(4.5 * len(joints) + 2.5, 8), layout="constrained")
    panels = figure.subplots(len(PANELS), len(joints), squeeze=False)
    colours, markers = colormaps["tab20"].colors, "osv^D<>pP*hX"
    for column, joint in enumerate(joints):
        own = [line for line in lines if line["joint"] == joint]
        for i, sampler in enumerate(samplers):
            points = sorted((line for line in own if line["sampler"] == sampler), key=lambda line: number(line, "NFE"))
            style = {"color": colours[i % 20], "marker": markers[i % len(markers)], "markersize": 4, "linewidth": 1}
            for panel, name in zip(panels[:, column], PANELS, strict=True):
                _curve(panel, points, name, {**style, "label": sampler})
        floors = [line["TV of exact samples"] for line in own if line.get("TV of exact samples") is not None]
        if floors:
            panels[0, column].axhline(floors[0], linestyle=":", color="grey", label="exact, by samples")
        panels[0, column].set(title=joint, ylabel="total variation", ylim=(-0.02, 1.02))
        panels[1, column].set(ylabel="KL(truth, sampler), nats", xlabel="NFE")
        panels[1, column].set_yscale("symlog", linthresh=0.01)
        panels[1, column].set_ylim(bottom=0)
    handles = {label: handle for p in panels.flat for handle, label in zip(*p.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=100)


def _curve(panel: Any, points: Sequence[Mapping[str, Value]], name: str, style: Mapping[str, Any]) -> None:
    for kind, dashes in ((name, "-"), (f"sampled {name}", "--")):
        known = [line for line in points if line.get(kind) is not None]
        if known:
            panel.plot([line["NFE"] for line in known], [line[kind] for line in known], linestyle=dashes, **style)
            return
