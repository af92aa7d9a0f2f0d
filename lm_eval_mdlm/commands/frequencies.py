"""`lm-eval-mdlm frequencies`: how often each of a checkpoint's tokens stands in some texts, for `score=pc`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import print_usage_errors_in_one_line
from ..showing.visible import visible


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="lm-eval-mdlm frequencies", description=__doc__)
    add: Callable[..., Any] = made.add_argument
    add("--pretrained", required=True, help="checkpoint whose tokenizer counts; its weights are not read")
    add("--revision", help="branch, tag or commit of a hub id")
    add("--text", nargs="+", type=Path, required=True, metavar="FILE", help="texts in UTF-8")
    add("--output", type=Path, required=True, help="file for token_frequencies=FILE; must not exist")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, count, print how much was counted."""
    print_usage_errors_in_one_line()
    chosen = vars(parser().parse_args(arguments))
    from ..harness.frequencies import count_file  # after parsing: --help does not wait for torch

    print(visible(count_file(**chosen)))
