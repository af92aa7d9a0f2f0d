"""`lm-eval-mdlm report`: runs of lm_eval compared on one page, whatever their models."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import print_usage_errors_in_one_line


SKIPPED = 3
"""Exit code where files could not be read; the page was written without them."""
WORSE = 4
"""Exit code where a run is significantly worse than the baseline named, files skipped or not."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    codes = (
        f"Exit code {WORSE} where --baseline is given and a run is significantly worse (p < 0.05 after Holm's "
        f"adjustment), else {SKIPPED} where files could not be read, else 0."
    )
    made = argparse.ArgumentParser(prog="lm-eval-mdlm report", description=__doc__, epilog=codes)
    made.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="that lm_eval --output_path wrote")
    made.add_argument("--output", type=Path, required=True, metavar="PAGE.html", help="one file that needs no network")
    made.add_argument("--baseline", metavar="RUN", help="run or method to compare with (the one with most passes)")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="verdict and tables, to paste")
    made.add_argument("--latex", type=Path, metavar="FILE", help="the tables, with booktabs")
    made.add_argument("--csv", type=Path, metavar="FILE", help="a row for each method, task and filter")
    made.add_argument("--plots", type=Path, metavar="FOLDER", help="accuracy against passes as SVG and PNG")
    made.add_argument("--max_mb", type=float, default=4.0, help="of texts in the sample browser (4)")
    made.add_argument(
        "--replays", type=int, default=300, help="most rows of a board that are replayed, if recorded (300)"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, write, print the verdict; exits with the codes above."""
    print_usage_errors_in_one_line()
    chosen = vars(parser().parse_args(arguments))
    from ..report.write import ReportOptions, write_report  # after parsing, so that --help is quick

    made = write_report(ReportOptions(**chosen))
    print(made.text)
    for line in (*made.skipped, *made.worse):
        print(f"lm_eval_mdlm: {line}", file=sys.stderr)
    if made.worse or made.skipped:
        sys.exit(WORSE if made.worse else SKIPPED)
