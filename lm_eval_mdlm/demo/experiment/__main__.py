"""`python -m lm_eval_mdlm.demo.experiment`: the posterior experiment from nothing to one page of tables and plots.

Bases, and the arms of each, run in processes of their own, several side by side, and write into OUT/base-SEED. What is
there already, by the same settings, is not computed again: after a kill the same command goes on.
"""

import argparse
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from ...errors import UsageError, print_usage_errors_in_one_line
from .parts import PARTS
from .scheduling import Processes, folder_of
from .settings import SCALES, Settings


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m lm_eval_mdlm.demo.experiment", description=__doc__)
    made.add_argument("--out", type=Path, default=Path("build/experiment"), help="folder of everything it writes")
    made.add_argument("--scale", choices=tuple(SCALES), default="full", help="small: minutes on a CPU, for trying it")
    made.add_argument("--change", default="{}", metavar="JSON", help="settings to replace, for other experiments")
    made.add_argument("--parallel", type=int, default=6, help="processes side by side (6)")
    made.add_argument("--devices", default="", help="GPUs to spread them over, such as 0,1; the first one if unset")
    made.add_argument("--workers", type=int, default=2, help="processes that prepare the batches of each base (2)")
    made.add_argument("--cpu", action="store_true", help="run on the CPU even if there is a GPU")
    made.add_argument("--seed", type=int, help="with --part: of the base, in this process, without the page")
    made.add_argument("--part", choices=PARTS, help="what of it to compute")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all bases, then write the page."""
    print_usage_errors_in_one_line()
    chosen = parser().parse_args(arguments)
    try:
        settings = SCALES[chosen.scale].changed(json.loads(chosen.change))
    except json.JSONDecodeError as error:
        raise UsageError(f"--change is not valid JSON ({error.msg} at column {error.colno}); correct it.") from None
    if (chosen.seed is None) != (chosen.part is None):
        raise UsageError("--seed and --part name one part of one base together; give both or none.")
    if chosen.part is not None:
        _run_part(settings, chosen)
        return
    _run_all(settings, chosen)


def _run_part(settings: Settings, chosen: argparse.Namespace) -> None:
    from .base import Base  # here: --help and the process that starts all others do not wait for torch

    folder = folder_of(chosen.out, chosen.seed)
    base = Base(settings=settings, seed=chosen.seed, folder=folder, cpu=chosen.cpu, workers=chosen.workers)
    base.run(chosen.part)


def _run_all(settings: Settings, chosen: argparse.Namespace) -> None:
    from .report import write_report

    started = time.monotonic()
    command = ["--out", str(chosen.out), "--scale", chosen.scale, "--change", chosen.change]
    command += ["--workers", str(chosen.workers), *(["--cpu"] if chosen.cpu else [])]
    devices = [name for name in chosen.devices.split(",") if name]
    Processes(out=chosen.out, command=command, parallel=chosen.parallel, devices=devices).run(settings.bases)
    page = write_report(settings, chosen.out, _again(chosen))
    print(f"{page}: {len(settings.bases)} bases in {time.monotonic() - started:.0f} s")


def _again(chosen: argparse.Namespace) -> str:
    """The command as others may type it: how it is spread over processes changes no figure."""
    words = ["python", "-m", str(__package__), "--out", str(chosen.out)]
    words += [] if chosen.scale == "full" else ["--scale", chosen.scale]
    words += [] if chosen.change == "{}" else ["--change", chosen.change]
    return shlex.join([*words, *(["--cpu"] if chosen.cpu else [])])


if __name__ == "__main__":
    main()
