"""A model at work on problems: how many it solves, and traces of its reasoning with the answer given or not."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ...backbones.backbone import Backbone
from ...options.decoding import DecodingConfig
from ...running.generation import RowRequest, generate
from ...running.in_common import answer_in_common
from ...running.posterior import WantedTrace, digest_of_run
from ...running.processes import ProcessGroup
from ...scoring.equations import equations
from .settings import DECODING, DELIMITER
from .world import is_right


TASK = "misreadings"
Problem = dict[str, Any]


def solve(backbone: Backbone, problems: Sequence[Problem]) -> list[dict[str, bool]]:
    """For each problem whether greedy decoding hits the answer (`hit`) and takes the right steps (`right`)."""
    assert backbone.tokenizer is not None
    prompts = [backbone.tokenizer.encode(problem["prompt"]) for problem in problems]
    rows = generate(backbone, prompts, **DECODING)
    found = []
    for row, problem in zip(rows, problems, strict=True):
        reasoning, _, answer = str(row.text).rpartition(DELIMITER)
        found.append({"hit": answer == problem["answer"], "right": is_right(reasoning, problem["steps"])})
    return found


def traces(backbone: Backbone, problems: Sequence[Problem], *, given: bool, seed: int) -> list[dict[str, Any]]:
    """A sample of reasoning for each problem, as lines of `lm-eval-mdlm posterior`.

    Each line has three more keys: `hit` (the model's own answer is the gold one; true where that was given), `right`
    (the steps are the right ones) and `consistent` (every equation is true, and the last result is the gold answer).

    Args:
        backbone: Of the model.
        problems: With gold answers.
        given: Whether the answer stands there while the reasoning is sampled.
        seed: Of the samples.
    """
    assert backbone.tokenizer is not None
    config = DecodingConfig.from_options({**DECODING, "temperature": 1.0, "seed": seed})
    wanted = [
        WantedTrace(
            task=TASK,
            doc_id=number,
            prompt=problem["prompt"],
            gold=problem["answer"],
            row=RowRequest(
                prompt_ids=backbone.tokenizer.encode(problem["prompt"]),
                config=config,
                answer=problem["answer"] if given else None,
            ),
        )
        for number, problem in enumerate(problems)
    ]
    generations = _answered(backbone, [one.row for one in wanted])
    asked = [one.score_request(backbone, own) for one, own in zip(wanted, generations, strict=True)]
    scores = _answered(backbone, asked)
    run = digest_of_run(backbone, wanted)
    found = []
    for one, own, score, problem in zip(wanted, generations, scores, problems, strict=True):
        line = one.line(backbone, own, score, run)
        found.append({**line, **_judged(line, problem)})
    return found


def _judged(line: dict[str, Any], problem: Problem) -> dict[str, bool]:
    own = line["text"].rpartition(DELIMITER)[2]
    return {
        "hit": own == problem["answer"],
        "right": is_right(line["solution"], problem["steps"]),
        "consistent": is_consistent(line["solution"], problem["answer"]),
    }


def is_consistent(solution: str, answer: str) -> bool:
    """Whether every equation is true and the last one's result is the answer: a filter that knows no reading."""
    sides = list(equations(solution))
    return bool(sides) and all(left == right for left, right in sides) and sides[-1][1] == Fraction(answer)


def _answered(backbone: Backbone, requests: Sequence[Any]) -> list[Any]:
    return answer_in_common(
        backbone,
        lambda: requests,
        what="requests",
        batch_size="auto",
        group=ProcessGroup(alone=True),
        progress=False,
        journal=None,
    )
