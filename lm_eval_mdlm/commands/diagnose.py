"""`lm-eval-mdlm diagnose`: what a recording of decoding steps says, and with the model how far its bounds hold."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import print_usage_errors_in_one_line
from ..showing.visible import visible


def parser() -> argparse.ArgumentParser:
    """The command line, spelt as lm_eval's wherever it has the same option."""
    made = argparse.ArgumentParser(prog="lm-eval-mdlm diagnose", description=__doc__)
    add: Callable[..., Any] = made.add_argument
    add("folder", type=Path, metavar="DIR", help="that a run had as record_steps=DIR in its --model_args")
    add("--model_args", nargs="+", default=(), help="the run's pretrained=...: adds the figures that need the model")
    add("--output", type=Path, help="JSON file for all figures")
    add("--states", type=int, default=1000, help="most passes per task, drawn with seed 0, for each figure (1000)")
    add("--samples", type=int, default=16, help="chains sampled in each of them (16)")
    add("--journal", help="folder that keeps finished requests: the same command goes on from there")
    add("--batch_size", help="canvases per pass (auto); changes no figure")
    add("--device", help="such as cuda:0 or cpu")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, diagnose, print."""
    print_usage_errors_in_one_line()
    chosen = vars(parser().parse_args(arguments))
    from ..harness.diagnosing import DiagnoseOptions, diagnose  # after parsing: --help does not wait for torch

    for line in diagnose(DiagnoseOptions(**chosen)):
        print(visible(line))
