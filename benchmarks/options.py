"""Options that all benchmarks share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.networks import SHAPES
from lm_eval_mdlm.errors import UsageError


DEFAULT_OUT = Path("build/benchmarks")


def parser(description: str | None, *, with_shape: bool = True) -> argparse.ArgumentParser:
    """A parser of the options that every script has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if with_shape:
        made.add_argument("--shape", choices=SHAPES, help="llada-8b on a GPU and small on a CPU, if left out")
        made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--threads", type=int, help="of torch on the CPU; its own choice if left out")
    made.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the results (%(default)s)")
    return made


def parsed(made: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, completed: `device` and `dtype` as torch's objects, `shape_name` beside the `shape` it names."""
    options = made.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(getattr(options, "device", "cpu"))
    options.device, on_gpu = device, device.type == "cuda"
    options.dtype = torch.bfloat16 if on_gpu else torch.float32
    options.shape_name = getattr(options, "shape", None) or ("llada-8b" if on_gpu else "small")
    options.shape = SHAPES[options.shape_name]
    return options


def command(name: str, argv: Sequence[str] | None) -> str:
    """The command line as it would be typed."""
    return " ".join(["python -m benchmarks." + name, *(sys.argv[1:] if argv is None else argv)])


def start(main: Callable[[], None]) -> None:
    """Run a script; a mistake of the user's ends it in one line."""
    try:
        main()
    except UsageError as error:
        sys.exit(f"error: {error}")
