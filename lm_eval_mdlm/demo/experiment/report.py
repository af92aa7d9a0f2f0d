"""One page of what came out: tables, plots, settings and commands."""

import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .arms import ARMS, Arm
from .figures import BaseFigures, Mean, mean_of, read_figures
from .parts import tuning_of
from .plots import KINDS, draw
from .scheduling import folder_of
from .settings import Settings


PAGE = "page.md"
Value = Callable[[BaseFigures], float | None]
GOLD = next(arm for arm in ARMS if arm.name == "gold")


def write_report(settings: Settings, out: Path, command: str) -> Path:
    """Write `OUT/page.md`, and its plots beside it where matplotlib is there.

    Args:
        settings: Of the run.
        out: Its folder, with the results of all bases.
        command: That makes the page again.

    Raises:
        UsageError: If a result is missing.
    """
    bases = read_figures(settings, out)
    page = out / PAGE
    plots = [f"![{caption}]({path.name})" for caption, path in draw(bases, out).items()]
    sections = (
        _head(settings, bases, command),
        _arm_table(bases),
        plots,
        _trace_table(bases),
        _area_table(bases),
        _run(settings, bases, out),
    )
    page.write_text("\n\n".join("\n".join(section) for section in sections if section) + "\n", encoding="utf-8")
    return page


def _head(settings: Settings, bases: Sequence[BaseFigures], command: str) -> list[str]:
    passing = sum(base.passes for base in bases)
    return [
        "# The posterior experiment",
        "",
        f"`{command}`",
        "",
        f"{len(bases)} bases, seeds {', '.join(str(base.seed) for base in bases)}; {passing} of them pass the gate, "
        f"greedy accuracy of at least {100 * settings.gate:g} % on {settings.num_development} development problems. "
        f"Means are over these, with their standard error over bases; a base in brackets does not pass. All figures "
        f"are percent unless they say otherwise.",
    ]


def _arm_table(bases: Sequence[BaseFigures]) -> list[str]:
    number = bases[0].arm(ARMS[0])["n"]
    lines = [
        f"## What each arm learns, {number} test problems",
        "",
        f"Problems solved / right traces. The last column is the mean over bases of the difference in problems solved "
        f"to {GOLD.label}.",
        "",
        _row(["trained on", "lines", *(_name(base) for base in bases), "mean solved", "mean right", "against gold"]),
        _row(["---"] * (len(bases) + 5)),
    ]
    for arm in ARMS:
        own = [base.arm(arm) for base in bases]
        lines.append(
            _row(
                [
                    arm.label,
                    _range([one["lines"] for one in own]),
                    *(f"{one['hit']:.1f} / {one['right']:.1f}" for one in own),
                    _mean(bases, lambda base, arm=arm: base.arm(arm)["hit"]),  # type: ignore[misc]
                    _mean(bases, lambda base, arm=arm: base.arm(arm)["right"]),  # type: ignore[misc]
                    "" if arm is GOLD else _mean(bases, _against_gold(arm), sign="+"),
                ]
            )
        )
    return lines


def _against_gold(arm: Arm) -> Value:
    return lambda base: float(base.arm(arm)["hit"] - base.arm(GOLD)["hit"])


def _trace_table(bases: Sequence[BaseFigures]) -> list[str]:
    """Right traces of failed problems, with and without the answer."""
    columns: dict[str, Value] = {
        "development accuracy": lambda base: base.results["greedy"]["development"]["hit"],
        "training problems failed, number": lambda base: base.results["traces"]["failed"],
        **{f"right traces of them, {label}": _right(kind) for kind, label in KINDS.items()},
    }
    return [
        "## Sampled traces of training problems that greedy decoding fails",
        "",
        _row(["", *(_name(base) for base in bases), "mean"]),
        _row(["---"] * (len(bases) + 2)),
        *(
            _row([name, *(_cell(value(base)) for base in bases), _plain(mean_of(bases, value))])
            for name, value in columns.items()
        ),
    ]


def _right(kind: str) -> Value:
    return lambda base: base.right_traces(kind)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if isinstance(value, int) else f"{value:.1f}"


def _area_table(bases: Sequence[BaseFigures]) -> list[str]:
    lines = [
        "## Does the answer's score tell right traces from wrong ones?",
        "",
        "Area under the ROC curve, of the same traces, after shares of their text.",
        "",
        _row(["traces", "share", *(_name(base) for base in bases), "mean"]),
        _row(["---"] * (len(bases) + 3)),
    ]
    for kind, label in KINDS.items():
        for share in bases[0].areas(kind):
            own = [base.areas(kind).get(share) for base in bases]
            mean = mean_of(bases, lambda base, kind=kind, share=share: base.areas(kind).get(share))  # type: ignore[misc]
            cells = ["-" if one is None else f"{one:.2f}" for one in own]
            lines.append(_row([label, f"{share:g}", *cells, _plain(mean, digits=2)]))
    return lines


def _run(settings: Settings, bases: Sequence[BaseFigures], out: Path) -> list[str]:
    """Settings and commands of the first base; times of all."""
    first = folder_of(out, bases[0].seed)
    base = {"from_scratch": first / "start", "data": first / "corpus.jsonl", "out": first / "base"}
    gold = {"pretrained": first / "base", "data": first / "train-gold.jsonl", "out": first / "tuned-gold"}
    seed = {"seed": bases[0].seed}
    seconds = sum(sum(one.seconds.values()) for one in bases)
    return [
        "## How it was run",
        "",
        f"World and sizes: `{json.dumps(settings.world)}`, {settings.num_documents:,} documents, "
        f"{settings.num_problems:,} training problems. The base of seed {bases[0].seed}, and its arm of gold "
        f"solutions, as commands:",
        "",
        "```",
        *_finetune({**base, **settings.base, **seed}),
        *_finetune({**gold, **tuning_of(settings, GOLD), **seed}),
        "```",
        "",
        f"All stages of all bases took {seconds:,.0f} s of processes that ran side by side.",
    ]


def _finetune(options: Mapping[str, Any]) -> Iterator[str]:
    """A command of `lm-eval-mdlm finetune`, in one line."""
    words = ["lm-eval-mdlm", "finetune"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is not False:
            words += [flag] if value is True else [flag, str(value)]
    yield shlex.join(words)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(base: BaseFigures) -> str:
    return f"base {base.seed}" if base.passes else f"[base {base.seed}]"


def _range(numbers: Sequence[int]) -> str:
    lowest, highest = min(numbers), max(numbers)
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"


def _mean(bases: Sequence[BaseFigures], value: Value, sign: str = "") -> str:
    return _plain(mean_of(bases, value), sign=sign)


def _plain(mean: Mean | None, *, digits: int = 1, sign: str = "") -> str:
    if mean is None:
        return "-"
    error = "" if math.isnan(mean.standard_error) else f" ± {mean.standard_error:.{digits}f}"
    return f"{mean.value:{sign}.{digits}f}{error}"
