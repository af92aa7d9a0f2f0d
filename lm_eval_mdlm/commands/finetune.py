"""`lm-eval-mdlm finetune`: parse, train, print the last losses; `torchrun -m lm_eval_mdlm finetune` launches it too."""

from collections.abc import Sequence

from ..errors import print_usage_errors_in_one_line
from ..training.config import from_arguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, train, and print the last losses; with --dry-run only what would be done."""
    print_usage_errors_in_one_line()
    config = from_arguments(arguments)
    from ..training.launch import Launch, end_processes  # after parsing, so that --help does not wait for torch
    from ..training.run import train

    losses = train(config)
    if losses and Launch.current().is_first:
        print(f"saved to {config.out}: " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()))
    end_processes()
