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
OF_LM_EVAL = "the same command begins anew, or goes on from its journal."
"""The same for lm_eval's own, before a run has begun, which then says more, and after it."""


def main() -> None:
    """Run a command of ours, or else lm_eval's own command line."""
    print_usage_errors_in_one_line()
    name = "".join(sys.argv[1:2])
    is_ours = name in (*COMMANDS, *COMMANDS_OF_TASKS)
    resume = GOES_ON.get(name, BEGINS_ANEW) if is_ours else OF_LM_EVAL
    # Around the imports too: they take seconds.
    with ends_on_signals(resume if os.environ.get("RANK", "0") == "0" else None):
        if is_ours:
            _own(name)
        else:
            _of_lm_eval()


def _own(name: str) -> None:
    arguments = sys.argv[2:]
    if name in COMMANDS:
        import_module(f".commands.{name}", __package__).main(arguments)
        return
    from . import register

    import_module(f".commands.{name}", __package__).main(arguments, register)


def _of_lm_eval() -> None:
    from . import register

    register()
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
