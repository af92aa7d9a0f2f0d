"""`python -m lm_eval_mdlm.demo.compare`: one model, one set of problems, several ways to decode them, as a table.

The same policies as in the results of the README, on as many word problems as a CPU decodes in a minute.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backbones.backbone import Backbone
from ..checkpoints.load import load_backbone
from ..checkpoints.packaged import checkpoint_dir
from ..running.generation import generate
from . import problems_file
from .word_problems import DELIMITER


REASONING_LENGTH, ANSWER_LENGTH = 104, 4
TEMPLATE = [{"reasoning": REASONING_LENGTH}, {"text": DELIMITER}, {"answer": ANSWER_LENGTH}]
BLOCK_LENGTH = 13
MED = {"sampler": "med", "entropy_threshold": 0.2}
EXIT_THRESHOLD = 0.1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one way of decoding did."""

    label: str
    accuracy: float
    """Share of right answers."""
    nfe: float
    """Mean forward passes per problem."""
    nfe_partial: float
    """Mean number of these that recomputed only part of the canvas."""
    num_problems: int

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as the harness computes it."""
        spread = self.accuracy * (1 - self.accuracy)
        return math.sqrt(spread / (self.num_problems - 1)) if self.num_problems > 1 else math.nan

    def __str__(self) -> str:
        return f"{self.label:<38} {100 * self.accuracy:5.1f} ± {100 * self.standard_error:3.1f} %  {self.nfe:7.1f} NFE"


def read_problems(limit: int) -> list[dict[str, str]]:
    """The first `limit` packaged word problems."""
    with problems_file("word_problems").open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(limit), strict=False)]


def decode_all(backbone: Backbone, problems: Sequence[Mapping[str, str]], label: str, **options: Any) -> Outcome:
    """Decode every problem with the demo's template, block by block: eight of reasoning, one of the answer."""
    assert backbone.tokenizer is not None, "the demo checkpoint has a tokenizer"
    prompts = [backbone.tokenizer.encode(problem["prompt"]) for problem in problems]
    rows = generate(backbone, prompts, template=TEMPLATE, block_length=BLOCK_LENGTH, **options)
    answers = [(row.text or "").rpartition(DELIMITER)[2] for row in rows]
    right = sum(answer == problem["answer"] for answer, problem in zip(answers, problems, strict=True))
    nfe = sum(row.nfe for row in rows) / len(rows)
    partial = sum(row.nfe_partial for row in rows) / len(rows)
    return Outcome(label=label, accuracy=right / len(rows), nfe=nfe, nfe_partial=partial, num_problems=len(rows))


def fixed_nfe(k: int) -> int:
    """Forward passes of the template at k tokens a pass: every block takes its own."""
    blocks = [BLOCK_LENGTH] * (REASONING_LENGTH // BLOCK_LENGTH) + [ANSWER_LENGTH]
    return sum(-(-masks // k) for masks in blocks)


def compare(backbone: Backbone, problems: Sequence[Mapping[str, str]]) -> list[Outcome]:
    """MED, MED with early exit, fixed k at MED's cost, and one token at a time; each is printed once it is known."""
    outcomes = []

    def run(label: str, **options: Any) -> Outcome:
        outcomes.append(decode_all(backbone, problems, label, **options))
        print(outcomes[-1], flush=True)
        return outcomes[-1]

    med = run("MED, λ = 0.2 nats", **MED)
    run(f"MED + early exit, γ = {EXIT_THRESHOLD} nats", **MED, exit_threshold=EXIT_THRESHOLD)
    k = min(range(1, BLOCK_LENGTH + 1), key=lambda k: abs(fixed_nfe(k) - med.nfe))
    run(f"fixed k = {k}, at about MED's NFE", sampler="fixed_k", k=k)
    run("one token at a time (k = 1)", sampler="fixed_k", k=1)
    return outcomes


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lm_eval_mdlm.demo.compare", description=__doc__)
    parser.add_argument("--limit", type=int, default=10, help="problems to decode, at most those in the package")
    parser.add_argument("--device", default="cpu", help="such as cpu or cuda:0")
    chosen = parser.parse_args(arguments)
    backbone = load_backbone(str(checkpoint_dir()), device=chosen.device)
    problems = read_problems(chosen.limit)
    print(
        f"{len(problems)} word problems, entropy decoding, template of {REASONING_LENGTH} + {ANSWER_LENGTH} masks, "
        f"blocks of {BLOCK_LENGTH}"
    )
    compare(backbone, problems)


if __name__ == "__main__":
    main()
