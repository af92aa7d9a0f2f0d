"""How figures are drawn: as SVG that takes the colour of the page's text, or into files. Needs matplotlib."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..showing.visible import visible


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH = 4.8
"""Inches at 72 points: about the width of a telephone, so that letters there have their full size."""
_PAGE_INK, _FILE_INK = "#123456", "#222222"
"""The first stands for the colour of the text, which differs between light and dark pages."""

Draw = Callable[[Any, str], None]
"""Puts everything into a matplotlib figure, lines and letters in the ink given."""


def for_page(draw: Draw, height: float, prefix: str, titles: Mapping[str, str] | None = None) -> str:
    """An SVG element.

    Args:
        draw: What is drawn.
        height: Inches.
        prefix: Of the ids in it, unlike that of any other figure of the page.
        titles: Shown when a pointer rests on the element of an id.
    """
    buffer = io.StringIO()
    _draw(draw, height, _PAGE_INK, partial(_save, target=buffer, kind="svg", transparent=True))
    svg = _inlined(buffer.getvalue(), prefix)
    for name, title in (titles or {}).items():
        opening = f'<g id="{prefix}-{name}">'
        svg = svg.replace(opening, f"{opening}<title>{escape(title)}</title>", 1)
    return svg


def into_files(draw: Draw, height: float, stem: Path) -> list[Path]:
    """The same as SVG and as PNG, on white."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png")]
    for path in paths:
        _draw(draw, height, _FILE_INK, partial(_save, target=path, kind=path.suffix[1:], dpi=200))
    return paths


def plain(text: str, most: int = 1_000) -> str:
    """Text of so many letters at most, without the formulas that matplotlib reads between dollar signs."""
    shown = visible(text)
    cut = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return cut.replace("$", r"\$")


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """Rows from the top, each with a name short enough to leave room for what it names."""
    axes.set_yticks(range(1, len(names) + 1), [plain(name, 18) for name in names])
    axes.invert_yaxis()


def _draw(draw: Draw, height: float, ink: str, save: Callable[[Any], None]) -> None:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("the page is drawn with matplotlib; pip install 'lm-eval-mdlm[report]'.") from error
    with mpl.rc_context(_settings(ink)):
        figure = Figure(figsize=(WIDTH, height))
        draw(figure, ink)
        save(figure)


def _settings(ink: str) -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "lm-eval-mdlm",
        "font.size": 10,
        "font.family": "sans-serif",
        **{f"{name}.color": ink for name in ("text", "xtick", "ytick")},
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }


def _save(figure: Any, target: Any, kind: str, **options: Any) -> None:
    undated = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(target, format=kind, bbox_inches="tight", metadata=undated, **options)


def _inlined(svg: str, prefix: str) -> str:
    """Without what only a file needs; with ids of its own, and the page's colour in place of the ink."""
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    opening, rest = body.split(">", 1)
    body = re.sub(r' (height|width)="[^"]*"', "", opening) + ">" + rest
    own = set(re.findall(r'\bid="([^"]+)"', body))
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r'(url\(#|href="#)([^")]+)', lambda m: f"{m[1]}{prefix}-{m[2]}" if m[2] in own else m[0], body)
    return body.replace(_PAGE_INK, "currentColor").strip()
