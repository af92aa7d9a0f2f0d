"""`lm-eval-mdlm` and `python -m lm_eval_mdlm`: the lm_eval command line with `mdlm` registered.

Does by hand what the start-up shim does, for environments where that is turned off.
"""

from .errors import print_usage_errors_in_one_line


def main() -> None:
    """Run lm_eval's own command line."""
    print_usage_errors_in_one_line()
    from . import register

    register()
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
