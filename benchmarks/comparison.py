"""docs/comparison.md from the sweeps of the demo model: verdicts, tables and plots as the reports have them.

    lm-eval-mdlm sweep configs/sweeps/demo_prompts.yaml --output results/demo_prompts
    lm-eval-mdlm sweep configs/sweeps/demo_curves.yaml --output results/demo_curves
    python -m benchmarks.comparison results

No figure and no verdict is written by hand: what the runs say stands there, whatever method is ahead.
"""

import argparse
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.report.write import ReportOptions, write_report


BASELINE = {"sampler": "fixed_k", "score": "entropy", "k": 8}
"""The plain way with about as many passes as the others of demo_prompts."""
PREFACE = """# The demo model's decoding methods, compared

Made by `python -m benchmarks.comparison`; no figure and no verdict is written by hand. The model is the packaged one
(2.8 million parameters, [record](../lm_eval_mdlm/demo/checkpoint/README.md)), the task
[`mdlm_demo`](../tasks/mdlm_demo/README.md) with its first 300 test problems: what is said here holds for this model and
these problems, and shows what the tools say of a comparison. What each column means: [report.md](report.md).

- `remdm` is left out, as it takes more passes than the region has masks (140 and more), and `edit`, which is for
  networks trained to edit; `score=pc` needs a file of token frequencies; approximate caches and sampling of tokens are
  other questions.
- Settings at about 14 passes were chosen by their passes alone, on 10 to 24 validation problems, some between two that
  were tried; `klass` came to 16.9 all the same. The wordings are those of 17 tried that the model, which was trained on
  the first of them alone, could still read (configs/prompts/mdlm_demo.yaml).
- Ways that draw positions (`score=random`, `alg=origin`) have two seeds. Decoding is float32; templates and blocks are
  the task's where no other block length stands in the name.
"""
PARTS = {
    "demo_prompts": ("About 14 passes a row, eight wordings", ("acc against", "prompts$", "Kendall", "outcomes$")),
    "demo_curves": ("Over settings, in the first wording", ("acc against",)),
}
"""For each sweep the heading, and patterns of the tables of its report that are shown."""
REPRODUCE = """## Again

```bash
lm-eval-mdlm sweep configs/sweeps/demo_prompts.yaml --output results/demo_prompts
lm-eval-mdlm sweep configs/sweeps/demo_curves.yaml --output results/demo_curves
python -m benchmarks.comparison results        # this file, its plots, and the pages beside the results
```
Both together took six minutes on one H200, in 13 to 16 processes at a time. `--share I/N` splits a sweep over jobs, and
every command goes on where it was stopped.
"""


@dataclass(frozen=True)
class Part:
    """One sweep as the document shows it."""

    text: str
    plot: Path | None


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument("results", type=Path, help="folder with demo_prompts and demo_curves, as the sweeps wrote them")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where comparison.md and its plots go (docs)")
    chosen = parser.parse_args(arguments)
    parts = [part_of(chosen.results / name, chosen.docs) for name in PARTS if (chosen.results / name).is_dir()]
    if not parts:
        raise SystemExit(f"{chosen.results} holds none of {', '.join(PARTS)}; run the sweeps first.")
    document = chosen.docs / "comparison.md"
    document.write_text("\n".join([PREFACE, *(part.text for part in parts), REPRODUCE]), encoding="utf-8")
    print(f"{document} and {', '.join(str(part.plot) for part in parts if part.plot)}")


def part_of(folder: Path, docs: Path) -> Part:
    """Report a sweep: the page beside its folder, the plot among the documents, and its section.

    Args:
        folder: Of the sweep.
        docs: Where the plot goes.
    """
    heading, wanted = PARTS[folder.name]
    page, tables, plots = (folder.with_suffix(end) for end in (".html", ".md", ".plots"))
    options = ReportOptions(
        folders=[folder], output=page, baseline=_baseline(folder), markdown=tables, plots=plots, max_mb=2.0
    )
    for line in write_report(options).skipped:
        raise UsageError(f"{line} Run the sweep again, so that nothing is left out.")
    plot = docs / f"comparison_{folder.name.removeprefix('demo_')}.png"
    drawn = next(plots.glob("*.png"), None)
    if drawn is not None:
        shutil.copyfile(drawn, plot)
    said, shown = _sections(tables.read_text(encoding="utf-8"), wanted)
    image = f"![accuracy against forward passes, {heading.lower()}]({plot.name})\n" if drawn else ""
    size = f"`lm-eval-mdlm report {folder.name}` makes a page of {page.stat().st_size / 1e6:.1f} MB from these runs."
    return Part(
        text="\n".join([f"## {heading}\n", f"{_provenance(folder)} {size}\n", said, image, *shown]),
        plot=plot if drawn else None,
    )


def _cells(folder: Path) -> Iterator[tuple[Path, Any]]:
    for path in sorted(folder.glob("cells/*/**/results_*.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))


def _baseline(folder: Path) -> str | None:
    """Name of the run with the plain way to decode; None where it is not there."""
    for path, plain in _cells(folder):
        own = plain["mdlm_cell"]
        if own["prompt"]["name"] == "own" and BASELINE.items() <= own["options"].items():
            return path.relative_to(folder / "cells").parts[0]
    return None


def _provenance(folder: Path) -> str:
    cells = [plain for _, plain in _cells(folder)]
    ways = {json.dumps(plain["mdlm_cell"]["options"]) for plain in cells}
    prompts = {plain["mdlm_cell"]["prompt"]["name"] for plain in cells}
    problems = {found["effective"] for plain in cells for found in plain["n-samples"].values()}
    records = [plain["config"]["mdlm"] for plain in cells]
    devices = sorted({f"{record['device_name']} ({record['device'].partition(':')[0]})" for record in records})
    words = f"{len(ways)} ways to decode, {len(prompts)} wording{'s' if len(prompts) > 1 else ''}, {len(cells)} runs"
    return f"{words} of {' or '.join(map(str, sorted(problems)))} problems, on {', '.join(devices)}."


def _sections(markdown: str, wanted: Sequence[str]) -> tuple[str, list[str]]:
    """The verdict, and the tables whose titles go on, behind the task, as one of some patterns does."""
    first, *tables = re.split(r"^### ", markdown, flags=re.MULTILINE)
    said = "\n".join(line for line in first.splitlines() if line.startswith("- "))
    shown = [table for name in wanted for table in tables if re.search(rf": {name}", table.partition("\n")[0].rstrip())]
    return f"{said}\n", [f"### {table.rstrip()}\n" for table in shown]


if __name__ == "__main__":
    main()
