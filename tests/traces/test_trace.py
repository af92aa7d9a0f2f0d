"""Files of traces: what is refused and by which line, and what a line's label is."""

import json

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.traces.trace import LAYOUT, TEXTS, read_traces
from tests.traces.lines import line, write


WHOLE = {"template": [{"reasoning": 3}, {"answer": 2}], "reasoning_tokens": [1, 2, 3]}


def test_unknown_keys_and_blank_lines_are_kept_and_skipped(tmp_path):
    path = write(tmp_path / "a.jsonl", ["\ufeff" + json.dumps(line(0, more=1)), "", line(2)])
    found = read_traces(path)
    assert [(trace.line, dict(trace.record)) for trace in found] == [(1, line(0, more=1)), (3, line(2))]


def test_line_separators_within_a_text_do_not_end_a_line(tmp_path):
    path = write(tmp_path / "a.jsonl", [json.dumps(line(0, solution="a\u2028b\x85c"), ensure_ascii=False), line(1)])
    assert [trace.solution for trace in read_traces(path)] == ["a\u2028b\x85c", "1 + 1 = 2"]


def without(key):
    whole = line(1, **WHOLE)
    del whole[key]
    return whole


@pytest.mark.parametrize(
    ("second", "message"),
    [
        *((without(key), f"line 2: {key!r} must be .*, got nothing") for key in (*TEXTS, *LAYOUT)),
        (line(1, **{**WHOLE, "template": []}), "line 2: 'template' must be a list of segments, got \\[\\]"),
        (line(1, **{**WHOLE, "reasoning_tokens": 3}), "line 2: 'reasoning_tokens' must be a list of token ids, got 3"),
        (line(1, **{**WHOLE, "reasoning_tokens": [True]}), "line 2: 'reasoning_tokens' must be a list of token ids"),
        (line(1, **{**WHOLE, "answer": 3}), "line 2: 'answer' must be a string, got 3"),
        ("[1]", "line 2: must be a JSON object, got list"),
        ("{", "line 2: not valid JSON"),
    ],
    ids=str,
)
def test_bad_lines_are_refused_by_number(tmp_path, second, message):
    path = write(tmp_path / "a.jsonl", [line(0, **WHOLE), second])
    with pytest.raises(UsageError, match=message) as caught:
        read_traces(path, needs=(*TEXTS, *LAYOUT))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_files_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no trace"):
        read_traces(write(tmp_path / "a.jsonl", ["", " "]))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_traces(tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(UsageError, match="must be UTF-8"):
        read_traces(tmp_path / "c.jsonl")


def test_labels_are_keys_or_the_arithmetic(tmp_path):
    lines = [line(0, judged=True), line(0, judged=None, solution="1 + 1 = 3"), line(0, judged=False, solution="none")]
    found = read_traces(write(tmp_path / "a.jsonl", [*lines, line(0), line(0, judged=1)]))
    assert [trace.label("judged") for trace in found[:3]] == [True, None, False]
    assert [trace.label("arithmetic") for trace in found[:3]] == [True, False, None]
    for place, got in ((3, "got nothing"), (4, "got 1")):
        with pytest.raises(UsageError, match=f"line {place + 1}: the label 'judged' must be true.* {got}"):
            found[place].label("judged")


def test_documents_are_told_apart_by_number_or_by_prompt(tmp_path):
    lines = [line(0), line(0, trace=1), line(0, task="eggs"), line(1)]
    free = [{name: line(i)[name] for name in ("prompt", "solution", "answer")} for i in (5, 5, 6)]
    found = [trace.document for trace in read_traces(write(tmp_path / "a.jsonl", [*lines, *free]))]
    assert found[0] == found[1] and found[4] == found[5] and len({*found}) == 5
