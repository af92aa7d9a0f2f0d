"""HumanEval: does the completed function pass the benchmark's test?

From a completion to a program, in this order:

1. Code is taken out of Markdown fences (`fences`), unless what stands before the first one goes on with the function.
2. It continues the prompt character by character: its leading blanks are its indentation, and nothing is repaired. A
   function that it repeats from the `def` line on is thereby a second definition, below the prompt's imports and
   helpers, and that one is tested.

A missing line of the infilling benchmark is put between the document's prompt and suffix as it is.

The metrics of one document are over all its responses (`repeats`): `pass@1`, and `acc`, the same number under the name
that all tasks share, are the share that passed; `pass@k` for the k of `MORE_SAMPLES` that there are responses for. The
document in the samples file gets the outcome as `execution`, and with several responses all outcomes as `executions`.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .fences import code_of
from .sandbox import Check, Executions, Verdict


SOLUTION_DELIMITER = "\n    # Solution:\n"
"""Last fixed text of the template of `humaneval_infill_mdlm`."""
MORE_SAMPLES = (2, 8, 10, 16, 32, 64, 100)
"""The k of pass@k besides 1: those of the benchmark's paper and of the stock task `humaneval_64`."""

Document = dict[str, Any]
Results = Sequence[str | Sequence[str]]


def keep_all_responses(responses: Sequence[Sequence[str]], docs: Sequence[Document]) -> list[list[str]]:
    """The tasks' filter: every response of every document, where the harness's own default keeps the first."""
    return [list(of_document) for of_document in responses]


def process_results(doc: Document, results: Results) -> dict[str, float]:
    """The metrics of `humaneval_mdlm` and `humaneval_instruct_mdlm` for one document."""
    return _score(doc, completed_programs(doc, results))


def process_infill_results(doc: Document, results: Results) -> dict[str, float]:
    """The metrics of `humaneval_infill_mdlm` for one document: only what stands behind the delimiter is code."""
    return _score(doc, reasoned_programs(doc, results))


def process_infilling_results(doc: Document, results: Results) -> dict[str, float]:
    """The metrics of `humaneval_infilling_mdlm` for one document."""
    return _score(doc, infilled_programs(doc, results))


def completed_programs(doc: Document, results: Results) -> list[str]:
    """The programs of a document's responses, each a completion of its prompt."""
    return [assemble_program(doc["prompt"], text, doc["entry_point"]) for text in responses(results)]


def reasoned_programs(doc: Document, results: Results) -> list[str]:
    """As `completed_programs`, of the text behind the delimiter."""
    return completed_programs(doc, [[solution_of(text) for text in responses(results)]])


def infilled_programs(doc: Document, results: Results) -> list[str]:
    """The programs of a document's responses, each a line between its prompt and its suffix."""
    return [f"{doc['prompt']}{infilled(text, doc['suffix'])}\n{doc['suffix']}" for text in responses(results)]


def responses(results: Results) -> list[str]:
    """All responses of one document: the filter `keep_all_responses` gives a list of them, others give the first."""
    return [text for result in results for text in ([result] if isinstance(result, str) else result)]


def solution_of(text: str) -> str:
    """The text behind the last delimiter; all of it without one, as a model or template without it leaves it.

    The last one, because reasoning can write the delimiter too.
    """
    return text.rpartition(SOLUTION_DELIMITER)[2]


def infilled(text: str, suffix: str) -> str:
    """What stands before the document's suffix; all of a text that does not end with it, as other models' do not."""
    return text.removesuffix(f"\n{suffix}")


def assemble_program(prompt: str, completion: str, entry_point: str) -> str:
    """Python source of the completed function, by the rules above."""
    return prompt + code_of(completion, definition_of(entry_point))


def pass_at(k: int, samples: int, passed: int) -> float:
    """The unbiased estimate, from `samples` programs of which so many passed, that one of k passes (k <= samples)."""
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def _score(doc: Document, programs: Sequence[str]) -> dict[str, float]:
    verdicts = [run(doc, program) for program in programs]
    outcomes = [{"status": verdict.status, "reason": verdict.reason} for verdict in verdicts]
    doc["execution"] = outcomes[0]
    if len(outcomes) > 1:
        doc["executions"] = outcomes
    samples, passed = len(verdicts), sum(verdict.status == "passed" for verdict in verdicts)
    more = {f"pass@{k}": pass_at(k, samples, passed) for k in MORE_SAMPLES if k <= samples}
    return {"acc": passed / samples, "pass@1": passed / samples, **more}


def run(doc: Document, program: str) -> Verdict:
    """Run the document's test on a program, or take the verdict if that was begun before."""
    return _EXECUTIONS.verdict(_check(doc, program))


def _check(doc: Document, program: str) -> Check:
    return Check(program=program, entry_point=doc["entry_point"], test=doc["test"], setup=helpers(doc))


def helpers(doc: Document) -> str:
    """Python source of what the prompt defines before the function under test, for the document's test.

    An infilling document's prompt ends anywhere within that function.
    """
    return definition_of(doc["entry_point"]).split(doc["prompt"], maxsplit=1)[0]


def definition_of(entry_point: str) -> re.Pattern[str]:
    """Finds where the function under test begins, at the left margin."""
    return re.compile(rf"^(?:async\s+)?def\s+{re.escape(entry_point)}\b", re.MULTILINE)


def _prefetch(
    programs_of: Callable[[Document, Results], list[str]],
) -> Callable[[Iterable[tuple[Document, Results]]], None]:
    def prefetch(docs_and_results: Iterable[tuple[Document, Results]]) -> None:
        """Begin to run all programs that will be asked for, as many at a time as there are cores."""
        _EXECUTIONS.begin(
            [_check(doc, program) for doc, results in docs_and_results for program in programs_of(doc, results)]
        )

    return prefetch


_EXECUTIONS = Executions()
# A task calls the function once per document; told of all of them before, it need not run one program at a time.
setattr(process_results, "prefetch", _prefetch(completed_programs))  # noqa: B010  an attribute of a function
setattr(process_infill_results, "prefetch", _prefetch(reasoned_programs))  # noqa: B010
setattr(process_infilling_results, "prefetch", _prefetch(infilled_programs))  # noqa: B010
