"""`lm-eval-mdlm` and `python -m lm_eval_mdlm`: lm_eval's command line with `mdlm` registered, and our sub-commands.

Does by hand what the start-up shim does, for environments where that is turned off.
"""

import sys

from .errors import print_usage_errors_in_one_line


def main() -> None:
    """Run a command of ours, or else lm_eval's own command line."""
    print_usage_errors_in_one_line()
    if sys.argv[1:2] == ["finetune"]:
        from .commands.finetune import main as finetune

        finetune(sys.argv[2:])
        return
    if sys.argv[1:2] == ["merge"]:
        from .commands.merge import main as merge

        merge(sys.argv[2:])
        return

    from . import register

    if sys.argv[1:2] == ["posterior"]:
        from .commands.posterior import main as posterior

        posterior(sys.argv[2:], register)
        return
    register()
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
