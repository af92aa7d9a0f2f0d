"""What holds from before a checkpoint is loaded until all scores are there: signals, and the folder for results."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import print_usage_errors_in_one_line
from ..running.ending import ends_on_signals
from .results_folder import check_results_folder, check_what_is_written


@contextmanager
def whole_run(given: Mapping[str, Any], *, of_command_line: bool) -> Iterator[None]:
    """A run of the harness with a model of this package.

    Nothing is done for a program that calls lm_eval: signals and the exit code are its own.

    Args:
        given: Arguments of `simple_evaluate`.
        of_command_line: Whether lm_eval's command line has begun it.

    Raises:
        UsageError: If the results could not be written; before anything is loaded.
    """
    if not of_command_line:
        yield
        return
    print_usage_errors_in_one_line()
    is_first = os.environ.get("RANK", "0") == "0"
    if is_first:
        tracker = given.get("evaluation_tracker")
        check_results_folder(tracker)
        check_what_is_written(tracker)
    with ends_on_signals(_resume(given) if is_first else None):
        yield


def _resume(given: Mapping[str, Any]) -> str:
    options = given.get("model_args")
    named = options.get("journal") if isinstance(options, Mapping) else None
    if named:
        return f"the same command goes on from journal={named}."
    return "the same command begins anew; journal=DIR in --model_args keeps what is finished."
