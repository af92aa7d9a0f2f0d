"""`python -m lm_eval_mdlm.demo.sweep`: the demo's ways of decoding at several block lengths.

First on validation problems, which choose the block length of each way; then on the packaged test problems.
`--record FILE` writes all figures: lm_eval_mdlm/demo/recorded.json, from which the tables and the plot are made.
"""

import argparse
import dataclasses
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..backbones.backbone import Backbone
from ..checkpoints.load import load_backbone
from ..checkpoints.packaged import checkpoint_dir
from . import read_problems
from .ways import MED_ALONE, MED_AND_EXIT, ONE_BLOCK, SINGLE, Outcome, decode_all, fixed, fixed_at
from .word_problems import draw_word_problem


BLOCK_LENGTHS = (13, 26, 52, 108, ONE_BLOCK)
"""Several of 13, 26 or 52 make up the reasoning; 108 holds all of it and leaves the answer to a block of its own."""
MORE_FIXED = (6, 8)
"""More tokens a pass, for the line of fixed k in the plot."""
VALIDATION_SEED = 1
"""As in the record of the packaged checkpoint: these are the first word problems of its validation.jsonl."""


def validation_problems(limit: int) -> list[dict[str, str]]:
    """Word problems of the validation split, which the checkpoint was not trained on."""
    rng = random.Random(f"words validation {VALIDATION_SEED}")
    return [dataclasses.asdict(draw_word_problem(rng, "validation")) for _ in range(limit)]


def sweep(backbone: Backbone, problems: Sequence[Mapping[str, str]], block_lengths: Iterable[int]) -> list[Outcome]:
    """All ways at every block length, fixed k at about MED's number of passes; each is printed once it is known."""
    outcomes: list[Outcome] = []
    for block_length in block_lengths:
        med = decode_all(backbone, problems, MED_ALONE, block_length=block_length)
        ways = (MED_AND_EXIT, fixed_at(med.nfe, block_length), SINGLE)
        outcomes += [med, *(decode_all(backbone, problems, way, block_length=block_length) for way in ways)]
        for outcome in outcomes[-4:]:
            print(f"{block_length:4} {outcome}", flush=True)
    return outcomes


def best_block_lengths(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """For every kind of way, the block length of its highest accuracy; of equal ones that of fewer passes."""
    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        known = best.get(outcome.kind)
        if known is None or (outcome.accuracy, -outcome.nfe) > (known.accuracy, -known.nfe):
            best[outcome.kind] = outcome
    return {kind: outcome.block_length for kind, outcome in best.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lm_eval_mdlm.demo.sweep", description=__doc__)
    parser.add_argument("--limit", type=int, default=600, help="problems of each split")
    parser.add_argument("--blocks", type=int, nargs="+", default=BLOCK_LENGTHS, help="block lengths")
    parser.add_argument("--device", default="cpu", help="such as cpu or cuda:0; always in float32")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    chosen = parser.parse_args(arguments)
    backbone = load_backbone(str(checkpoint_dir()), device=chosen.device, dtype="float32")
    print(f"{chosen.limit} validation problems")
    validation = sweep(backbone, validation_problems(chosen.limit), chosen.blocks)
    best = best_block_lengths(validation)
    print(f"block lengths chosen by them: {best}\n\n{chosen.limit} test problems")
    problems = read_problems(chosen.limit)
    test = sweep(backbone, problems, chosen.blocks)
    curve = [decode_all(backbone, problems, fixed(k), block_length=best["fixed"]) for k in MORE_FIXED]
    for outcome in curve:
        print(f"{outcome.block_length:4} {outcome}", flush=True)
    if chosen.record:
        record = {"block_lengths": best} | {
            name: [dataclasses.asdict(outcome) for outcome in outcomes]
            for name, outcomes in {"validation": validation, "test": test, "more_fixed": curve}.items()
        }
        chosen.record.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
