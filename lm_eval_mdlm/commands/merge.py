"""`lm-eval-mdlm merge`: a checkpoint and the adapter that was trained on it become one checkpoint for `pretrained=`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError, print_usage_errors_in_one_line


def main(arguments: Sequence[str] | None = None) -> None:
    """Load, merge, save."""
    print_usage_errors_in_one_line()
    parser = argparse.ArgumentParser(prog="lm-eval-mdlm merge", description=__doc__)
    parser.add_argument("--pretrained", required=True, help="checkpoint that the adapter was trained on")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--adapter", type=Path, required=True, help="folder OUT/adapter of a LoRA run")
    parser.add_argument("--out", type=Path, required=True, help="folder for the merged checkpoint; must not exist")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the saved weights")
    chosen = parser.parse_args(arguments)
    if chosen.out.exists():
        raise UsageError(f"--out {chosen.out} exists; name a new folder.")
    from ..training.merging import merge  # after parsing, so that --help does not wait for torch

    merge(chosen.pretrained, chosen.adapter, chosen.out, dtype=chosen.dtype, revision=chosen.revision)
    print(f"saved to {chosen.out}")
