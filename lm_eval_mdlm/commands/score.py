"""`lm-eval-mdlm score`: how probable the gold answer is after each part of a reasoning trace."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import print_usage_errors_in_one_line
from ..showing.visible import visible


def parser() -> argparse.ArgumentParser:
    """The command line, spelt as lm_eval's wherever it has the same option."""
    made = argparse.ArgumentParser(prog="lm-eval-mdlm score", description=__doc__)
    add: Callable[..., Any] = made.add_argument
    add("--model_args", nargs="+", required=True, help="as for --model mdlm: pretrained=...,journal=...")
    add("--traces", type=Path, required=True, help="file that posterior wrote")
    add("--output", type=Path, required=True, help="the same lines with prefix_tokens, prefix_logprobs and score")
    add("--at", default="0.25,0.5,0.75,1", help="shares of the trace, or sentence, or token (0.25,0.5,0.75,1)")
    add("--likelihood", default="one_pass", help="one_pass, or l2r for the chain rule (one_pass)")
    add("--labels", metavar="KEY", help="boolean key of the lines, or arithmetic: adds AUC and calibration")
    add("--gen_kwargs", nargs="+", default=(), help="in place of a line's own: template, cfg_scale, suppress_tokens")
    add("--journal", help="folder that keeps finished requests: the same command goes on from there")
    add("--batch_size", help="canvases per pass (auto); changes no line")
    add("--device", help="such as cuda:0 or cpu")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, score, print the summary."""
    print_usage_errors_in_one_line()
    chosen = vars(parser().parse_args(arguments))
    from ..harness.trace_scores import ScoreOptions, score_file  # after parsing: --help does not wait for torch

    summary = score_file(ScoreOptions(**chosen))
    if summary is not None:
        print(visible(summary))
