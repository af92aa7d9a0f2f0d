"""`lm-eval-mdlm finetune`: parse, train, print the last losses; `torchrun -m lm_eval_mdlm finetune` launches it too."""

from collections.abc import Sequence

from ..errors import print_usage_errors_in_one_line
from ..training.config import from_arguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, train, and print the last losses."""
    print_usage_errors_in_one_line()
    config = from_arguments(arguments)
    from ..training.run import train  # after parsing, so that --help does not wait for torch

    losses = train(config)
    print(f"saved to {config.out}: " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()))
