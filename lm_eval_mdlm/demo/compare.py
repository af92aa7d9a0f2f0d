"""`python -m lm_eval_mdlm.demo.compare`: one model, the same problems, four ways to decode them, in about a minute.

Each way runs on the first packaged problems, beside the figures recorded on all 600 of them (recorded.json).
"""

import argparse
from collections.abc import Mapping, Sequence

from ..backbones.backbone import Backbone
from ..checkpoints.load import load_backbone
from ..checkpoints.packaged import checkpoint_dir
from . import read_problems
from .recorded import Record, plot, read_record
from .ways import ANSWER_LENGTH, MED_ALONE, MED_AND_EXIT, REASONING_LENGTH, SINGLE, Outcome, decode_all, fixed_at


AFTERWARDS = """\
NFE: forward passes of the network for one problem. MED fills in as many tokens in a pass as the entropy of their
predictions allows; the early exit stops once the answer is certain, whatever reasoning is still masked.

The same for a checkpoint of your own, by lm_eval, and how it is fine-tuned:
  lm_eval --model mdlm --model_args pretrained=FOLDER_OR_HUB_ID,sampler=med,exit_threshold=0.1 --tasks gsm8k_mdlm
  lm-eval-mdlm finetune --help"""


def compare(
    backbone: Backbone, problems: Sequence[Mapping[str, str]], record: Record, *, num_single: int
) -> list[Outcome]:
    """Every way at its recorded block length, printed once it is known; the slow k = 1 on `num_single` problems."""
    print(f"{'':38} now, on the first {len(problems):<5}      recorded, on 600")
    outcomes = []
    recorded_fixed = record.chosen("fixed")
    for way in (MED_AND_EXIT, MED_ALONE, fixed_at(recorded_fixed.nfe, recorded_fixed.block_length), SINGLE):
        mine = problems[:num_single] if way is SINGLE else problems
        outcome = decode_all(backbone, mine, way, block_length=record.block_lengths[way.kind])
        fewer = f" (first {len(mine)})" if len(mine) < len(problems) else ""
        print(f"{way.label:<38} {outcome.figures}   {record.chosen(way.kind).figures}{fewer}", flush=True)
        outcomes.append(outcome)
    return outcomes


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lm_eval_mdlm.demo.compare", description=__doc__)
    parser.add_argument("--limit", type=int, default=60, help="problems to decode, at most those in the package")
    parser.add_argument("--limit-single", type=int, default=10, help="problems for one token at a time, which is slow")
    parser.add_argument("--device", default="cpu", help="such as cpu or cuda:0")
    chosen = parser.parse_args(arguments)
    record = read_record()
    backbone = load_backbone(str(checkpoint_dir()), device=chosen.device, dtype="float32")
    print(
        f"\nWord problems for a model of {backbone.description['num_parameters'] / 1e6:.1f} million parameters: "
        f"{REASONING_LENGTH} masks of reasoning, then {ANSWER_LENGTH} of answer.\n"
    )
    compare(backbone, read_problems(chosen.limit), record, num_single=chosen.limit_single)
    print(f"\n{plot(record)}\n\n{AFTERWARDS}")


if __name__ == "__main__":
    main()
