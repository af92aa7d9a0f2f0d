"""`lm-eval-mdlm` and `python -m lm_eval_mdlm`: lm_eval's command line with `mdlm` registered, and our sub-commands.

Does by hand what the start-up shim does, for environments where that is turned off.
"""

import sys
from importlib import import_module

from .errors import print_usage_errors_in_one_line


COMMANDS = ("diagnose", "finetune", "frequencies", "merge", "report", "score", "select")
COMMANDS_OF_TASKS = ("doctor", "judge", "posterior", "sweep")
"""They ask lm_eval for tasks or models."""


def main() -> None:
    """Run a command of ours, or else lm_eval's own command line."""
    print_usage_errors_in_one_line()
    name, arguments = sys.argv[1:2], sys.argv[2:]
    if name and name[0] in COMMANDS:
        import_module(f".commands.{name[0]}", __package__).main(arguments)
        return

    from . import register

    if name and name[0] in COMMANDS_OF_TASKS:
        import_module(f".commands.{name[0]}", __package__).main(arguments, register)
        return
    register()
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
