"""`lm-eval-mdlm posterior`: reasoning filled in before known answers, one line of training data per trace."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import print_usage_errors_in_one_line
from ..showing.visible import visible
from .arguments import add_prompt_options, positive


def parser() -> argparse.ArgumentParser:
    """The command line, spelt as lm_eval's wherever it has the same option."""
    made = argparse.ArgumentParser(prog="lm-eval-mdlm posterior", description=__doc__)
    add: Callable[..., Any] = made.add_argument
    add("--model_args", nargs="+", required=True, help="as for --model mdlm: pretrained=...,journal=...")
    add("--tasks", dest="task", required=True, help="one task whose template has an answer segment")
    add("--output", type=Path, required=True, help="JSON Lines, one trace each; input of finetune as it is")
    add("--split", choices=("train", "validation", "test"), default="train", help="of the task's documents (train)")
    add("--limit", type=positive, help="the first so many documents, of those that failed with --only_failed")
    add_prompt_options(made)
    add("--gen_kwargs", nargs="+", default=(), help="decoding options: temperature=1,seed=7")
    add("--num_traces", type=positive, default=1, help="traces of each document (1); need a temperature above 0")
    add("--only_failed", type=Path, nargs="+", default=(), help="samples files of this task: only documents whose "
        "metric is 0 wherever they stand in them")  # fmt: skip
    add("--metric", default="acc", help="that --only_failed looks at (acc)")
    add("--skip_long", action="store_true", help="leave documents out whose answers do not fit, and go on")
    add("--journal", help="folder that keeps finished requests: the same command goes on from there")
    add("--batch_size", help="rows decoded together (auto); changes no line")
    add("--device", help="such as cuda:0 or cpu")
    return made


def main(arguments: Sequence[str] | None, register: Callable[[], None]) -> None:
    """Parse, make the traces, print the summary.

    Args:
        arguments: Of the command line.
        register: Makes this project's tasks known to lm_eval.
    """
    print_usage_errors_in_one_line()
    chosen = vars(parser().parse_args(arguments))
    register()
    from ..harness.posterior import PosteriorOptions, make_traces  # after parsing: --help does not wait for torch

    summary = make_traces(PosteriorOptions(**chosen))
    if summary is not None:
        print(visible(summary))
