"""HumanEval: does the completed function pass the benchmark's test?

From a completion to a program, in this order:

1. Code in a Markdown fence is taken out of it if the fence holds the function under test or only blanks stand before
   it. Behind any other fence everything is dropped. A fence that is not closed reaches to the end.
2. It continues the prompt character by character: its leading blanks are its indentation, and nothing is repaired. A
   function that it repeats from the `def` line on is thereby a second definition, below the prompt's imports and
   helpers, and that one is tested.

The metric is pass@1 of one completion, under the common name `acc`. The document in the samples file gets the outcome
as `execution`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from .sandbox import Check, Executions, Verdict


SOLUTION_DELIMITER = "\n    # Solution:\n"
"""Last fixed text of the template of `humaneval_infill_mdlm`."""

_FENCE = re.compile(r"^[ \t]*```[^\n`]*$\n?", re.MULTILINE)


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """The metric of `humaneval_mdlm` for one document."""
    return _score(doc, results[0])


def process_infill_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """The metric of `humaneval_infill_mdlm` for one document: only what stands behind the delimiter is code."""
    return _score(doc, solution_of(results[0]))


def solution_of(text: str) -> str:
    """The text behind the last delimiter; all of it without one, as a model or template without it leaves it.

    The last one, because reasoning can write the delimiter too.
    """
    return text.rpartition(SOLUTION_DELIMITER)[2]


def assemble_program(prompt: str, completion: str, entry_point: str) -> str:
    """Python source of the completed function, by the rules above."""
    definition = re.compile(rf"^(async\s+)?def\s+{re.escape(entry_point)}\b", re.MULTILINE)
    return prompt + _unfenced(completion, definition)


def _unfenced(completion: str, definition: re.Pattern[str]) -> str:
    fence = _FENCE.search(completion)
    if fence is None:
        return completion
    before, behind = completion[: fence.start()], completion[fence.end() :]
    closing = _FENCE.search(behind)
    inside = behind[: closing.start()] if closing else behind
    return inside if definition.search(inside) or not before.strip() else before


def _score(doc: dict[str, Any], completion: str) -> dict[str, float]:
    verdict = run(doc, completion)
    doc["execution"] = {"status": verdict.status, "reason": verdict.reason}
    return {"acc": float(verdict.status == "passed")}


def run(doc: dict[str, Any], completion: str) -> Verdict:
    """Run the document's test on a completion of its prompt, or take the verdict if that was begun before."""
    return _EXECUTIONS.verdict(_check(doc, completion))


def _check(doc: dict[str, Any], completion: str) -> Check:
    program = assemble_program(doc["prompt"], completion, doc["entry_point"])
    return Check(program=program, entry_point=doc["entry_point"], test=doc["test"], setup=doc["prompt"])


def _prefetch(completion_of: Callable[[str], str]) -> Callable[[Iterable[tuple[dict[str, Any], list[str]]]], None]:
    def prefetch(docs_and_results: Iterable[tuple[dict[str, Any], list[str]]]) -> None:
        """Begin to run all programs that will be asked for, as many at a time as there are cores."""
        _EXECUTIONS.begin([_check(doc, completion_of(results[0])) for doc, results in docs_and_results])

    return prefetch


_EXECUTIONS = Executions()
# A task calls the function once per document; told of all of them before, it need not run one program at a time.
setattr(process_results, "prefetch", _prefetch(str))  # noqa: B010  an attribute of a function
setattr(process_infill_results, "prefetch", _prefetch(solution_of))  # noqa: B010
