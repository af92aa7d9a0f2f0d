"""`python -m lm_eval_mdlm.training`: what `lm-eval-mdlm finetune` runs; torchrun and accelerate can launch it."""

from collections.abc import Sequence

from ..errors import print_usage_errors_in_one_line
from .config import from_arguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, train, and print the last losses."""
    print_usage_errors_in_one_line()
    config = from_arguments(arguments)
    from .run import train  # after parsing, so that --help does not wait for torch

    losses = train(config)
    print(f"saved to {config.out}: " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()))


if __name__ == "__main__":
    main()
