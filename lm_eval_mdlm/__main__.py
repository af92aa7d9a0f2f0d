"""`lm-eval-mdlm` and `python -m lm_eval_mdlm`: lm_eval's command line with `mdlm` registered, and our sub-commands.

Does by hand what the start-up shim does, for environments where that is turned off.
"""

import os
import sys
from importlib import import_module

from .errors import print_usage_errors_in_one_line
from .running.ending import ends_on_signals


COMMANDS = ("diagnose", "finetune", "frequencies", "merge", "report", "score", "select")
COMMANDS_OF_TASKS = ("doctor", "judge", "posterior", "sweep")
"""They ask lm_eval for tasks or models."""
BEGINS_ANEW = "no part of a file is left behind; the same command begins anew, or goes on from its --journal."
GOES_ON = {
    "finetune": "the same command with --resume goes on from the last whole checkpoint.",
    "sweep": "the same command goes on where it was.",
}
"""What a command says when a signal has ended it."""


def main() -> None:
    """Run a command of ours, or else lm_eval's own command line."""
    print_usage_errors_in_one_line()
    name, arguments = sys.argv[1:2], sys.argv[2:]
    if name and name[0] in (*COMMANDS, *COMMANDS_OF_TASKS):
        own = name[0]
        is_first = os.environ.get("RANK", "0") == "0"
        with ends_on_signals(GOES_ON.get(own, BEGINS_ANEW) if is_first else None):
            if own in COMMANDS:
                import_module(f".commands.{own}", __package__).main(arguments)
            else:
                from . import register

                import_module(f".commands.{own}", __package__).main(arguments, register)
        return

    from . import register

    register()
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
