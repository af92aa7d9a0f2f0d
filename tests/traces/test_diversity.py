"""Diversity of the traces of one document."""

import difflib

import pytest

from lm_eval_mdlm.traces.diversity import diversity
from lm_eval_mdlm.traces.trace import read_traces
from tests.traces.lines import line, write


def found(tmp_path, texts):
    lines = [line(i, solution=text) for i, own in enumerate(texts) for text in own]
    return diversity(read_traces(write(tmp_path / "a.jsonl", lines)))


def test_documents_with_one_trace_say_nothing(tmp_path):
    assert found(tmp_path, [["a"], ["a"]]) is None


def test_shares_and_similarities_are_means_over_documents(tmp_path):
    texts = [["a b c", "a b c", "x y z"], ["p q r s", "p q r t"], ["alone"]]
    assert found(tmp_path, texts) == {
        "documents": 2,
        "distinct": pytest.approx((2 / 3 + 1) / 2),
        "similarity": pytest.approx(((1 + 0 + 0) / 3 + difflib.SequenceMatcher(None, "pqrs", "pqrt").ratio()) / 2),
    }
