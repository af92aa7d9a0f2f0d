"""Files of traces, of training examples and of failed samples: any line is taken, or named in one line."""

import json

from hypothesis import strategies as st

from lm_eval_mdlm.harness.failed import failed_documents
from lm_eval_mdlm.harness.judging import _texts
from lm_eval_mdlm.traces.selection import Selection, select_file
from lm_eval_mdlm.traces.trace import ARITHMETIC, read_traces
from lm_eval_mdlm.training.examples import read_examples
from tests.fuzz.inputs import changed, damaged, files_below, fuzz, sizes, told
from tests.traces.lines import line


TRACE = {
    **line(3),
    "score": -0.5,
    "right": True,
    "template": [{"reasoning": 2}, {"answer": 1}],
    "reasoning_tokens": [1],
}
EXAMPLES = ({"prompt": "a", "response": "b"}, {"prompt": "a", "solution": "1 + 1 = 2", "answer": "2"})
SAMPLE = {"doc_id": 0, "acc": 0.0, "doc_hash": "h", "filter": "none", "metrics": ["acc"]}


def written(*plain) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in plain)


def files(*plain):
    """Bytes of a file of such lines, changed as values or as bytes."""
    of_values = st.lists(changed(*plain), min_size=1, max_size=3).map(lambda own: written(*own))
    return of_values | damaged(written(*plain, *plain))


RULES = st.builds(
    Selection,
    min_score=st.sampled_from([None, -1.0, float("nan"), float("-inf")]),
    correct=st.sampled_from([None, "right", ARITHMETIC, "nothing"]),
    unique=st.booleans(),
    top=st.sampled_from([None, 0, 1, 2]),
)


@sizes(250, 10_000)
def test_traces_are_selected_and_worded_or_refused(number, tmp_path):
    path, output = tmp_path / "traces.jsonl", tmp_path / "out.jsonl"

    def check(content, selection):
        path.write_bytes(content)
        output.unlink(missing_ok=True)
        told(lambda: select_file(path, output, selection))
        traces = told(lambda: read_traces(path)) or []
        if output.exists():
            kept = [json.loads(text) for text in output.read_text().rstrip("\n").split("\n") if text]
            assert all(json.dumps(own) in {json.dumps(trace.record) for trace in traces} for own in kept)
        told(lambda: _texts(traces, None))

    fuzz(number, check, files(TRACE, line(4, solution="2 + 2 = 5 {{ 7 * 7 }}")), RULES)
    assert files_below(tmp_path) <= {str(path), str(output)}


@sizes(150, 6_000)
def test_training_examples_are_read_or_refused(number, tmp_path):
    path = tmp_path / "examples.jsonl"

    def check(content):
        path.write_bytes(content)
        for example in told(lambda: read_examples(path)) or ():
            (example.prompt + example.solution + (example.answer or "")).encode("utf-8")

    fuzz(number, check, files(*EXAMPLES))


@sizes(150, 6_000)
def test_samples_of_other_runs_are_read_or_refused(number, tmp_path):
    path = tmp_path / "samples_pens_2026-11-28T18-32-14.522400.jsonl"

    def check(content):
        path.write_bytes(content)
        found = told(lambda: failed_documents([path], "acc", "pens", [{"a": 1}, {"b": 2}]))
        assert not found or set(found) <= {0, 1}

    fuzz(number, check, files(SAMPLE, {**SAMPLE, "doc_id": 1, "acc": 1.0}))
