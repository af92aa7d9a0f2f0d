"""What several commands have on their command lines, and how a number or a flag is read there."""

import argparse
import math
from collections.abc import Callable
from typing import Any


def add_prompt_options(made: argparse.ArgumentParser) -> None:
    """Add lm_eval's own options of where a task comes from and how its prompts are laid out."""
    add: Callable[..., Any] = made.add_argument
    add("--include_path", help="folder with more tasks")
    add("--metadata", nargs="+", default=(), help='for tasks: data_dir=..., or {"gold_answer": "{{answer}}"}')
    add("--num_fewshot", type=natural, help="shots in the prompts")
    add("--apply_chat_template", dest="chat_template", nargs="?", const=True, default=False, help="or one by name")
    add("--fewshot_as_multiturn", type=flag, nargs="?", const=True, help="true with a chat template, if unset")
    add("--system_instruction", help="system prompt")


def natural(text: str) -> int:
    """A whole number from 0 on."""
    return _at_least(0, text)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    return _at_least(1, text)


def above_zero(text: str) -> float:
    """A finite number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


def flag(text: str) -> bool:
    """`true` or `false`."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")
    return text.lower() == "true"


def _at_least(minimum: int, text: str) -> int:
    number = int(text)
    if number < minimum:
        raise argparse.ArgumentTypeError(f"must be at least {minimum}, got {number}")
    return number
