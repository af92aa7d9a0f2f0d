"""What every benchmark leaves behind: a JSON file with all repeats and the machine, and a table in markdown."""

import datetime
import json
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from lm_eval_mdlm import __version__


@dataclass(frozen=True)
class Measurement:
    """Repeats of one figure."""

    values: tuple[float, ...]
    """In the order measured, at least one."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """Quartiles of four repeats or more, smallest and largest of fewer."""
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    def scaled(self, factor: float) -> "Measurement":
        """Every repeat times a factor."""
        return Measurement(tuple(value * factor for value in self.values))

    def per(self, amount: float) -> "Measurement":
        """A rate: `amount` over every repeat, which is a time."""
        return Measurement(tuple(amount / value for value in self.values))

    def over(self, other: "Measurement") -> "Measurement":
        """The ratio repeat by repeat, so that a drift of the machine falls out of it."""
        return Measurement(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def __str__(self) -> str:
        low, high = self.spread
        return f"{self.median:.4g} ({low:.4g} to {high:.4g})"


Value = str | int | float | bool | Measurement | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of one script."""

    name: str
    """Of the script, and of the files."""
    command: str
    rows: Sequence[Mapping[str, Value]]
    """One mapping per line of the table; the keys are its headings, with units."""
    device: torch.device
    facts: Mapping[str, Value] = field(default_factory=dict)
    """What was measured once for all rows, and sizes."""

    def table(self) -> str:
        """The rows in markdown; a measurement stands as its median and, in brackets, its spread."""
        headings = list(dict.fromkeys(heading for row in self.rows for heading in row))
        lines = [headings, ["---"] * len(headings)]
        lines += [[_shown(row.get(heading)) for heading in headings] for row in self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def write(self, folder: Path) -> None:
        """Write `name.json` and `name.md` into a folder, made if need be, and print the latter."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = machine(self.device)
        plain = {
            "command": self.command,
            "machine": facts,
            "facts": {key: _plain(value) for key, value in self.facts.items()},
            "rows": [{key: _plain(value) for key, value in row.items()} for row in self.rows],
        }
        (folder / f"{self.name}.json").write_text(json.dumps(plain, indent=2) + "\n")
        listed = "\n".join(f"- {key}: {_shown(value)}" for key, value in {**self.facts, **facts}.items())
        text = f"`{self.command}`\n\n{self.table()}\n\n{listed}\n"
        (folder / f"{self.name}.md").write_text(text)
        print(text)


def machine(device: torch.device) -> dict[str, Value]:
    """Hardware and versions that a figure depends on."""
    on_gpu = device.type == "cuda"
    return {
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "gpus": torch.cuda.device_count() if on_gpu else 0,
        "cuda": torch.version.cuda if on_gpu else None,
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "lm_eval_mdlm": __version__,
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _shown(value: Value) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Value) -> Any:
    if not isinstance(value, Measurement):
        return value
    return {"median": value.median, "spread": list(value.spread), "values": list(value.values)}


def _cpu() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:  # no git on this machine
        return None
    return found.stdout.strip() or None
