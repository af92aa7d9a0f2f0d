"""What a line of a training file means, and which lines are refused."""

import json
from pathlib import Path

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.training.examples import parse_line, read_examples


def parsed(**record):
    example = parse_line(json.dumps(record), path=Path("f"), line=1)
    return example.solution, example.answer


@pytest.mark.parametrize("extra", [{"answer": "7"}, {"answer": 3}, {"solution": "s"}, {"id": 1}])
def test_response_is_plain_whatever_else_the_line_holds(extra):
    assert parsed(prompt="p", response="r", **extra) == ("r", None)


def test_solution_and_answer_are_kept_apart():
    assert parsed(prompt="p", solution="s", answer="a", id=1) == ("s", "a")


def test_line_that_is_plain_and_templated_at_once_is_refused():
    with pytest.raises(UsageError, match="line 1: cannot be both a plain and a templated example"):
        parsed(prompt="p", response="r", solution="s", answer="a")


@pytest.mark.parametrize("key", ["prompt", "response"])
def test_half_a_surrogate_pair_is_refused_by_its_line(key):
    with pytest.raises(UsageError, match=f"line 1: '{key}' holds half of a surrogate pair"):
        parsed(**{"prompt": "p", "response": "r"} | {key: "\ud83d"})


def test_byte_order_mark_is_no_text_and_other_encodings_are_refused(tmp_path):
    line = json.dumps({"prompt": "p", "response": "r"})
    (tmp_path / "marked").write_text("\ufeff" + line)
    assert [example.solution for example in read_examples(tmp_path / "marked")] == ["r"]
    (tmp_path / "latin").write_bytes('{"prompt": "p", "response": "caf\u00e9"}'.encode("latin-1"))
    with pytest.raises(UsageError, match="must be UTF-8"):
        read_examples(tmp_path / "latin")
