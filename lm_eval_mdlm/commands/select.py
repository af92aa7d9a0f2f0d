"""`lm-eval-mdlm select`: the traces of a file that are good enough to be training data."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import print_usage_errors_in_one_line
from ..showing.visible import visible


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="lm-eval-mdlm select", description=__doc__)
    made.add_argument("--traces", type=Path, required=True, help="file that posterior, score or judge wrote")
    made.add_argument("--output", type=Path, required=True, help="the kept lines as they are; input of finetune")
    made.add_argument("--min_score", type=float, help="least score, nats")
    made.add_argument("--correct", metavar="KEY", help="boolean key of the lines that must be true, or arithmetic")
    made.add_argument("--unique", action="store_true", help="each reasoning once per document, the best scored one")
    made.add_argument("--top", type=int, metavar="N", help="the N best scored of each document, after the other rules")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, select, print how many are kept."""
    print_usage_errors_in_one_line()
    chosen = vars(parser().parse_args(arguments))
    from ..traces.selection import Selection, select_file  # after parsing, so that --help is quick

    traces, output = chosen.pop("traces"), chosen.pop("output")
    print(visible(select_file(traces, output, Selection(**chosen))))
