"""Which lines `select` keeps, and that it keeps them as they are."""

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.traces.selection import Selection, select_file
from tests.traces.lines import line, read, write


LINES = [
    line(0, score=-3.0, trace=0),
    line(0, score=-1.0, trace=1, solution=" 0 + 1 = 1\n"),
    line(0, score=-2.0, trace=2, solution="0 + 1 = 2"),
    line(1, score=-2.0, trace=0, solution="no equation"),
    line(1, score=-2.0, trace=1, solution="no other"),
    line(1, score=-9.0, trace=2),
]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"min_score": -2.0}, [1, 2, 3, 4]),
        ({"min_score": 0.0, "top": 1}, None),
        ({"top": 1}, [1, 3]),
        ({"top": 2}, [1, 2, 3, 4]),
        ({"unique": True}, [1, 2, 3, 4, 5]),
        ({"correct": "arithmetic"}, [0, 1, 5]),
        ({"correct": "arithmetic", "unique": True}, [1, 5]),
        ({"correct": "arithmetic", "top": 1, "min_score": -4.0}, [1]),
        ({"unique": True, "top": 3}, [1, 2, 3, 4, 5]),
    ],
    ids=str,
)
def test_rules(tmp_path, rules, kept):
    path, output = write(tmp_path / "a.jsonl", LINES), tmp_path / "b.jsonl"
    if kept is None:
        with pytest.raises(UsageError, match="none of the 6 traces .* is kept; loosen the rules"):
            select_file(path, output, Selection(**rules))
        assert not output.exists()
        return
    summary = select_file(path, output, Selection(**rules))
    assert read(output) == [LINES[i] for i in kept]
    documents = len({LINES[i]["doc_id"] for i in kept})
    assert summary == f"{output}: {len(kept)} of 6 traces, of {documents} of 2 documents"


def test_unique_keeps_the_first_where_nothing_is_scored(tmp_path):
    lines = [{name: value for name, value in one.items() if name != "score"} for one in LINES]
    path = write(tmp_path / "a.jsonl", lines)
    select_file(path, tmp_path / "b.jsonl", Selection(unique=True))
    assert read(tmp_path / "b.jsonl") == [lines[i] for i in (0, 2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "select needs a rule"),
        ({"top": 0}, "--top must be at least 1, got 0"),
        ({"top": 1}, "line 2: 'score' must be a number, got nothing; run lm-eval-mdlm score first"),
        ({"min_score": 0.0}, "line 2: 'score' must be a number"),
        ({"correct": "judged"}, "line 1: the label 'judged' must be true, false or null, got nothing"),
    ],
    ids=str,
)
def test_bad_rules_are_refused(tmp_path, rules, message):
    path = write(tmp_path / "a.jsonl", [LINES[0], line(1)])
    with pytest.raises(UsageError, match=message):
        select_file(path, tmp_path / "b.jsonl", Selection(**rules))
    assert not (tmp_path / "b.jsonl").exists()


def test_no_file_is_overwritten(tmp_path):
    path = write(tmp_path / "a.jsonl", LINES)
    with pytest.raises(UsageError, match="exists; name another file"):
        select_file(path, path, Selection(top=1))
    with pytest.raises(UsageError, match="does not exist; make it"):
        select_file(path, tmp_path / "no" / "b.jsonl", Selection(top=1))
    assert read(path) == LINES
