"""The ways of decoding that the demo compares, and how one of them does on a set of problems."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..backbones.backbone import Backbone
from ..running.generation import generate
from .word_problems import DELIMITER, PIECE


REASONING_LENGTH, ANSWER_LENGTH = 104, 4
ONE_BLOCK = 128
"""A block length that the whole region fits in, fixed text included: any order."""
TEMPLATE = [{"reasoning": REASONING_LENGTH}, {"text": DELIMITER}, {"answer": ANSWER_LENGTH}]
MED = {"sampler": "med", "entropy_threshold": 0.2}
EXIT_THRESHOLD = 0.1


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of decoding the demo's template."""

    kind: str
    """`single`, `fixed`, `med` or `exit`."""
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `generate`, but for the template and the block length."""


SINGLE = Way(kind="single", label="one token at a time, k = 1", options={"sampler": "fixed_k", "k": 1})
MED_ALONE = Way(kind="med", label="MED, λ = 0.2 nats", options=MED)
MED_AND_EXIT = Way(
    kind="exit", label="MED + early exit, γ = 0.1 nats", options={**MED, "exit_threshold": EXIT_THRESHOLD}
)


def fixed(k: int) -> Way:
    """As many tokens in every pass."""
    return Way(kind="fixed", label=f"fixed k = {k}", options={"sampler": "fixed_k", "k": k})


def fixed_nfe(k: int, block_length: int) -> int:
    """Passes of the template at k tokens a pass: every block takes its own, and fixed text takes room in blocks too."""
    text_length = len(PIECE.findall(DELIMITER))
    answer_start = REASONING_LENGTH + text_length
    masked = [*range(REASONING_LENGTH), *range(answer_start, answer_start + ANSWER_LENGTH)]
    masks_by_block = Counter(position // block_length for position in masked)
    return sum(-(-masks // k) for masks in masks_by_block.values())


def fixed_at(nfe: float, block_length: int) -> Way:
    """The fixed k whose number of passes is nearest to `nfe`."""
    return fixed(min(range(1, REASONING_LENGTH), key=lambda k: abs(fixed_nfe(k, block_length) - nfe)))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one way of decoding did."""

    kind: str
    """Of the way."""
    label: str
    block_length: int
    accuracy: float
    """Share of right answers."""
    nfe: float
    """Mean forward passes per problem."""
    nfe_partial: float = 0.0
    """Mean number of these that recomputed only part of the canvas."""
    num_problems: int

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as the harness computes it."""
        spread = self.accuracy * (1 - self.accuracy)
        return math.sqrt(spread / (self.num_problems - 1)) if self.num_problems > 1 else math.nan

    @property
    def figures(self) -> str:
        """Accuracy with its standard error, and passes."""
        return f"{100 * self.accuracy:5.1f} ± {100 * self.standard_error:3.1f} %  {self.nfe:6.1f} NFE"

    def __str__(self) -> str:
        return f"{self.label:<32} {self.figures}"


def decode_all(
    backbone: Backbone, problems: Sequence[Mapping[str, str]], way: Way, *, block_length: int, **more: Any
) -> Outcome:
    """Decode every problem with the demo's template; `more` are options of `generate` beside the way's own."""
    assert backbone.tokenizer is not None, "the demo checkpoint has a tokenizer"
    prompts = [backbone.tokenizer.encode(problem["prompt"]) for problem in problems]
    rows = generate(backbone, prompts, template=TEMPLATE, block_length=block_length, **{**way.options, **more})
    answers = [(row.text or "").rpartition(DELIMITER)[2] for row in rows]
    right = sum(answer == problem["answer"] for answer, problem in zip(answers, problems, strict=True))
    return Outcome(
        kind=way.kind,
        label=way.label,
        block_length=block_length,
        accuracy=right / len(rows),
        nfe=sum(row.nfe for row in rows) / len(rows),
        nfe_partial=sum(row.nfe_partial for row in rows) / len(rows),
        num_problems=len(rows),
    )
