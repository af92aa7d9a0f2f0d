"""`lm-eval-mdlm doctor`: what was found of a checkpoint, a machine and tasks, and what a run with them will take."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError, print_usage_errors_in_one_line
from .arguments import above_zero, add_prompt_options, positive


FAILS = 1
"""Exit code where a run would fail, or where a comparison is not one of like with like."""


def parser() -> argparse.ArgumentParser:
    """The command line, spelt as lm_eval's wherever it has the same option."""
    codes = f"Exit code {FAILS} where a run would fail; each reason stands in a line marked `fail`."
    made = argparse.ArgumentParser(prog="lm-eval-mdlm doctor", description=__doc__, epilog=codes)
    add: Callable[..., Any] = made.add_argument
    add("--model_args", nargs="+", default=(), help="as for --model mdlm: pretrained=...,sampler=med")
    add("--tasks", type=_names, default=(), metavar="T[,T2]", help="also: what fits, time, memory")
    add("--gen_kwargs", nargs="+", default=(), help="decoding options: k=4,seed=7")
    add("--batch_size", help="rows decoded together (1), or auto")
    add("--limit", type=above_zero, help="the first so many documents of each task; below 1 a share of them")
    add_prompt_options(made)
    add("--confirm_run_unsafe_code", action="store_true", help="as for lm_eval; no code is run here")
    add("--device", help="such as cuda:0 or cpu")
    add("--sample", type=positive, help="requests of each type to try (24, more for large batches)")
    add("--seconds", type=above_zero, default=60.0, help="most seconds to try those of each type (60)")
    add("--output", type=Path, metavar="FILE.json", help="keeps the estimate")
    add("--compare", type=Path, metavar="FILE.json", help="after a run: how far off the estimate was; with --results")
    add("--results", type=Path, metavar="PATH", help="results_*.json of that run, or its folder")
    return made


def main(arguments: Sequence[str] | None, register: Callable[[], None]) -> None:
    """Parse, examine or compare, print; exit code 1 where a run would fail.

    Args:
        arguments: Of the command line.
        register: Makes this project's tasks known to lm_eval.
    """
    print_usage_errors_in_one_line()
    chosen = vars(parser().parse_args(arguments))
    compared, results = chosen.pop("compare"), chosen.pop("results")
    if (compared is None) != (results is None):
        raise UsageError("--compare FILE.json and --results PATH belong together; give both, or none.")
    if compared is None and not chosen["model_args"]:
        raise UsageError("--model_args must name a checkpoint, as pretrained=FOLDER; or give --compare and --results.")
    if compared is not None:
        from ..harness.doctor.comparing import compare  # after parsing: --help does not wait for torch

        good = compare(compared, results)
    else:
        register()
        from ..harness.doctor.examination import examine
        from ..harness.doctor.preparing import DoctorOptions

        good = examine(DoctorOptions(**chosen))
    if not good:
        sys.exit(FAILS)


def _names(text: str) -> list[str]:
    return [name for name in (piece.strip() for piece in text.split(",")) if name]
