"""`lm-eval-mdlm judge`: whether each trace is right, by the word of any model that lm_eval has."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import print_usage_errors_in_one_line
from ..showing.visible import visible


def parser() -> argparse.ArgumentParser:
    """The command line, spelt as lm_eval's wherever it has the same option."""
    made = argparse.ArgumentParser(prog="lm-eval-mdlm judge", description=__doc__)
    add: Callable[..., Any] = made.add_argument
    add("--traces", type=Path, required=True, help="file that posterior or score wrote")
    add("--output", type=Path, required=True, help="the same lines with judged (true, false or null) and verdict")
    add("--model", required=True, help="of lm_eval: hf, vllm, local-chat-completions, mdlm, ...")
    add("--model_args", nargs="+", default=(), help="of that model: pretrained=..., or model=...,base_url=...")
    add("--prompt", type=Path, help="text with {{ prompt }}, {{ solution }} and {{ answer }}, in place of our own")
    add("--apply_chat_template", action="store_true", help="ask in the model's chat format")
    add("--gen_kwargs", nargs="+", default=(), help="of that model (max_gen_toks=1024, temperature 0)")
    add("--journal", help="folder that keeps replies: the same command goes on from there")
    add("--batch_size", help="of that model")
    add("--device", help="such as cuda:0 or cpu")
    return made


def main(arguments: Sequence[str] | None, register: Callable[[], None]) -> None:
    """Parse, judge, print how many are right.

    Args:
        arguments: Of the command line.
        register: Makes `mdlm` known to lm_eval.
    """
    print_usage_errors_in_one_line()
    chosen = vars(parser().parse_args(arguments))
    register()
    from ..harness.judging import JudgeOptions, judge_file  # after parsing: --help does not wait for torch

    print(visible(judge_file(JudgeOptions(**chosen))))
