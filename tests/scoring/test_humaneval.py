import time

import pytest

from lm_eval_mdlm.scoring import humaneval
from lm_eval_mdlm.scoring.humaneval import SOLUTION_DELIMITER, assemble_program, process_infill_results, process_results


PROMPT = 'import math\n\n\ndef twice(x):\n    return 2 * x\n\n\ndef area(r):\n    """Area of a disc."""\n'
DOC = {
    "task_id": "Own/0",
    "prompt": PROMPT,
    "canonical_solution": "    return math.pi * r * r\n",
    "entry_point": "area",
    "test": "def check(candidate):\n    assert abs(candidate(2) - 4 * math.pi) < 1e-9\n    assert twice(3) == 6\n",
}
RIGHT = "    return math.pi * r**2"
DEFINED = "def area(r):\n    return math.pi * r**2"


def score(completion: str, process=process_results) -> float:
    return process(dict(DOC), [completion])["acc"]


@pytest.mark.parametrize(
    "completion",
    [
        RIGHT,
        f"{RIGHT}\n",
        "    # the area\n\n    square = r * r\n    return math.pi * square",
        DEFINED,
        f"\n\n{DEFINED}",
        f"from math import pi\n\n{DEFINED}",
        f"```python\n{DEFINED}\n```",
        f"```python\n{DEFINED}",
        f"Here it is:\n\n```python\n{DEFINED}\n```\nIt uses `math`.",
        f"```\n{RIGHT}\n```",
        f"{RIGHT}\n```\n\nThis returns the area.",
        f"{RIGHT}\n```python\nprint(area(1))\n```",
    ],
)
def test_right_completion_passes_in_every_usual_form(completion):
    assert score(completion) == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "    return math.pi * r",
        "return math.pi * r**2",  # the indentation is not repaired
        "   return math.pi * r**2\n    pass",
        "    return math.pi * r**2)",
        f"The function is:\n{RIGHT}",
        "    area = 3\n    def area(r):\n        return math.pi * r**2",  # defined, but not at the left margin
    ],
)
def test_wrong_completion_fails(completion):
    assert score(completion) == 0.0


def test_continuation_keeps_every_character():
    assert assemble_program(PROMPT, "    return 1  \n\n", "area") == PROMPT + "    return 1  \n\n"


def test_outcome_is_noted_in_the_document():
    doc = dict(DOC)
    process_results(doc, ["    return 0"])
    assert doc["execution"]["status"] == "failed"
    assert "assert abs(candidate(2) - 4 * math.pi) < 1e-9" in doc["execution"]["reason"]


def test_infilled_reasoning_cannot_break_the_code_behind_the_delimiter():
    reasoning = '    # Approach: first\nuse math """ and then ('
    assert score(f"{reasoning}{SOLUTION_DELIMITER}{RIGHT}", process_infill_results) == 1.0
    assert score(f"{reasoning}{SOLUTION_DELIMITER}    return 0", process_infill_results) == 0.0
    assert score(f"{reasoning}\n{RIGHT}", process_infill_results) == 0.0


def test_delimiter_inside_the_reasoning_is_passed_over():
    reasoning = f"    # Approach: none{SOLUTION_DELIMITER}    return 0"
    assert score(f"{reasoning}{SOLUTION_DELIMITER}{RIGHT}", process_infill_results) == 1.0


def test_every_reference_solution_passes_and_an_empty_body_never_does(real_documents):
    docs = real_documents("HumanEval.jsonl.gz")
    assert len(docs) == 164
    references = [(dict(doc), [doc["canonical_solution"]]) for doc in docs]
    empty = [(dict(doc), ["    return None"]) for doc in docs[::10]]
    process_results.prefetch([*references, *empty])
    scores = [process_results(*pair)["acc"] for pair in references]
    assert [doc["task_id"] for (doc, _), acc in zip(references, scores, strict=True) if not acc] == []
    assert sum(process_results(*pair)["acc"] for pair in empty) == 0


@pytest.mark.parametrize("process", [process_results, process_infill_results])
def test_programs_told_of_before_run_at_once_and_score_the_same(process):
    reasoning = f"    # Approach: none{SOLUTION_DELIMITER}" if process is process_infill_results else ""
    slow = "    import time\n    time.sleep(1)\n"
    completions = [f"{reasoning}{slow}{end}" for end in (RIGHT, "    return 0", RIGHT, "    return 1")]
    pairs = [({**DOC, "task_id": str(number)}, [text]) for number, text in enumerate(completions)]
    process.prefetch(pairs)
    time.sleep(0.5)
    assert len(humaneval._EXECUTIONS._futures) == 3  # equal programs run once
    assert [process(*pair)["acc"] for pair in pairs] == [1.0, 0.0, 1.0, 0.0]
    assert [pair[0]["execution"]["status"] for pair in pairs] == ["passed", "failed", "passed", "failed"]
    assert humaneval._EXECUTIONS._futures == {}
    assert score(completions[0], process) == 1.0  # and once more, without having been told of
