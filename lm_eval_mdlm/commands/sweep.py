"""`lm-eval-mdlm sweep`: one model over a grid of ways to decode, prompts, shots and seeds."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import UsageError, print_usage_errors_in_one_line
from ..showing.visible import visible


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="lm-eval-mdlm sweep", description=__doc__)
    made.add_argument("config", type=Path, help="YAML: model_args, tasks, grid, and more (see README)")
    made.add_argument("--output", type=Path, required=True, help="folder of the sweep: the same command goes on there")
    made.add_argument("--share", default="1/1", metavar="I/N", help="every N-th cell from the I-th on; no table (1/1)")
    return made


def main(arguments: Sequence[str] | None, register: Callable[[], None]) -> None:
    """Parse, run all cells, print what became of them; exit code 1 if one failed.

    Args:
        arguments: Of the command line.
        register: Makes this project's tasks known to lm_eval.
    """
    print_usage_errors_in_one_line()
    chosen = parser().parse_args(arguments)
    register()
    from ..harness.sweep import Share, run_sweep  # after parsing: --help does not wait for torch
    from ..harness.sweep_config import SweepConfig

    share = Share(*_numbers(chosen.share))
    outcome = run_sweep(SweepConfig.read(chosen.config), chosen.output, share)
    if outcome.is_told_here:
        where = f": {chosen.output / 'cells.csv'}" if outcome.finished and share.of == 1 else "."
        print(f"{outcome.finished} cells are finished{where}")
        for name, why in outcome.failed.items():
            print(visible(f"failed: {name}: {why}"), file=sys.stderr)
    if outcome.failed:
        sys.exit(1)


def _numbers(share: str) -> tuple[int, int]:
    number, slash, of = share.partition("/")
    if not (number.isdecimal() and slash and of.isdecimal()):
        raise UsageError(f"--share must be two numbers such as 2/8, got {share!r:.40}.")
    return int(number), int(of)
