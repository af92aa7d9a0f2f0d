import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lm_eval_mdlm.scoring import humaneval
from lm_eval_mdlm.scoring.humaneval import (
    SOLUTION_DELIMITER,
    assemble_program,
    infilled_programs,
    keep_all_responses,
    pass_at,
    process_infill_results,
    process_infilling_results,
    process_results,
)


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
        f"{RIGHT}```",
        f"```python\n{DEFINED}```",
        f"Here it is: ```python\n{DEFINED}```",
        f"```python\n{DEFINED}``` This returns the area.",
        f"```{DEFINED}```",
        f"~~~python\n{DEFINED}\n~~~\nThat is all.",
        f"~~~~\n{DEFINED}\n    # ~~~\n~~~~",
        f"```python\n{RIGHT}```\nIt squares `r`.",
        "1. Code:\n\n   ```python\n" + "".join(f"   {line}\n" for line in DEFINED.split("\n")) + "   ```\n2. Done.",
        "- ```python\n" + "".join(f"  {line}\n" for line in DEFINED.split("\n")) + "  ```",
        f"   ```python\n   {RIGHT}\n   ```",  # a body under an indented fence
        f"    ```python\n{RIGHT}\n    ```",
        f"First:\n```bash\npip install x\n```\nThen:\n```python\n{DEFINED}\n```",
        f"```python\n{DEFINED}\n```\nTry it:\n```python\nprint(area(1))\n```",
        f"The body:\n```python\n{RIGHT}\n```",
        f"```python\nfrom math import pi\n\n{DEFINED}\n\nif __name__ == '__main__':\n    print(area(1))\n```",
        f"```{{.python}}\n{DEFINED}\n```",
        f"{DEFINED}\n```\nNothing more.",
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
        f"```python\n{DEFINED[:-3]}\n```",
        f"Like this:\n```python\nprint(area(1))\n```\n{RIGHT}",
        "```",
        "~~~",
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


def test_tildes_within_a_line_are_no_fence():
    assert assemble_program("", "    return ~~~x\n", "f") == "    return ~~~x\n"


@pytest.mark.parametrize(
    "text", ["```" * 13000, "~~~\n" * 10000, "- " * 20000 + "```", "` " * 20000, " " * 40000 + "```"]
)
def test_hostile_fences_are_read_in_linear_time(text):
    assert len(assemble_program(PROMPT, text, "area")) <= len(PROMPT) + len(text)


INFILLING = {
    "task_id": "SingleLineInfilling/Own/0/L1",
    "prompt": "def double(x):\n    return 2 * x\n\n\ndef total(items):\n    result = 0\n    for item in items:\n",
    "suffix": "    return result\n",
    "canonical_solution": "        result += item\n",
    "entry_point": "total",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3 == total([1, 2])\n    assert double(2) == 4\n",
}


@pytest.mark.parametrize(
    ("text", "acc"),
    [
        ("        result += item\n    return result\n", 1.0),
        ("        result += item", 1.0),  # a model without the template
        ("        result += item\n\n    return result\n", 1.0),
        ("        result = result + item  # sum\n    return result\n", 1.0),
        ("\n        result += item\n    return result\n", 1.0),
        ("        result = item\n    return result\n", 0.0),
        ("    result += item\n    return result\n", 0.0),
        ("", 0.0),
    ],
)
def test_infilled_line_is_put_between_prompt_and_suffix(text, acc):
    assert process_infilling_results(dict(INFILLING), [[text]])["acc"] == acc


def test_infilled_last_line_has_an_empty_suffix():
    prompt = INFILLING["prompt"] + INFILLING["canonical_solution"]
    last = {**INFILLING, "prompt": prompt, "suffix": "", "canonical_solution": "    return result\n"}
    assert infilled_programs(last, [["    return result\n"]]) == [prompt + "    return result\n"]
    assert process_infilling_results(dict(last), [["    return result\n"]])["acc"] == 1.0


def test_all_responses_of_a_document_are_scored():
    assert keep_all_responses([["a", "b"], ("c", "d")], [{}, {}]) == [["a", "b"], ["c", "d"]]
    doc = dict(DOC)
    found = process_results(doc, [[RIGHT, "    return 0", RIGHT, "    return 1"]])
    assert found == {"acc": 0.5, "pass@1": 0.5, "pass@2": pytest.approx(5 / 6)}
    assert [outcome["status"] for outcome in doc["executions"]] == ["passed", "failed", "passed", "failed"]
    assert doc["execution"] == doc["executions"][0]


def test_one_response_gives_pass_at_1_alone():
    assert process_results(dict(DOC), [[RIGHT]]) == process_results(dict(DOC), [RIGHT]) == {"acc": 1.0, "pass@1": 1.0}


@pytest.mark.parametrize("samples", [1, 4, 6])
def test_pass_at_k_is_the_share_of_draws_without_repetition_that_hold_a_pass(samples):
    for passed, k in itertools.product(range(samples + 1), range(1, samples + 1)):
        outcomes = [True] * passed + [False] * (samples - passed)
        draws = list(itertools.combinations(outcomes, k))
        assert pass_at(k, samples, passed) == pytest.approx(sum(map(any, draws)) / len(draws))


def single_lines(doc: dict) -> list[dict]:
    """The infilling documents of a problem: one per line of its solution that is not blank."""
    lines = doc["canonical_solution"].splitlines(keepends=True)
    return [
        {**doc, "prompt": doc["prompt"] + "".join(lines[:at]), "suffix": "".join(lines[at + 1 :]), "line": line}
        for at, line in enumerate(lines)
        if line.strip()
    ]


def test_single_lines_of_the_benchmark_pass_with_their_own_line_and_fail_without(real_documents):
    docs = [line for doc in real_documents("HumanEval.jsonl.gz") for line in single_lines(doc)]
    assert len(docs) == 1033  # as many as the official file has
    jobs = [(doc, doc["line"].rstrip("\n") + "\n" + doc["suffix"]) for doc in docs[::40]]
    jobs += [(doc, "    raise ValueError\n" + doc["suffix"]) for doc in docs[::200]]
    with ThreadPoolExecutor(2) as pool:
        scores = list(pool.map(lambda job: process_infilling_results(dict(job[0]), [[job[1]]])["acc"], jobs))
    assert scores == [1.0] * len(docs[::40]) + [0.0] * len(docs[::200])


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
