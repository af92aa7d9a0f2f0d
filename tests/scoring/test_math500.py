import threading
import time

import pytest

from lm_eval_mdlm.scoring import math500
from lm_eval_mdlm.scoring.math500 import is_correct, process_results


@pytest.mark.parametrize(
    ("text", "answer", "correct"),
    [
        (r"so \boxed{\frac{1}{2}}", r"\frac{1}{2}", True),
        (r"so \boxed{0.5}", r"\frac{1}{2}", True),
        (r"so \boxed{\frac{1}{3}}", r"\frac{1}{2}", False),
        (r"\boxed{\frac{1}{2}} but no, \boxed{3}", r"\frac{1}{2}", False),
        (r"The answer is \boxed{\frac{1}{2}", r"\frac{1}{2}", True),  # the block was full
        (r"The answer is \boxed{\frac{1}{2", r"\frac{1}{2}", True),  # or nearly
        (r"The answer is \boxed{\frac{1", r"\frac{1}{2}", False),
        ("The answer is \\boxed{12$. I hope it is 3.\nSo 4", "12", True),
        (r"The answer is \boxed{", "3", False),
        (r"So 3. The answer is \boxed{}", "3", False),
        (r"The answer is $\left( 3, \frac{\pi}{2} \right)$.", r"\left( 3, \frac{\pi}{2} \right)", True),
        (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}", True),
        (r"\boxed{\text{Carla}}", r"\text{Evelyn}", False),
        (r"\boxed{(1, 2)}", r"(2, 1)", False),
        (r"\boxed{x^2 + 2x + 1}", r"(x + 1)^2", True),
        ("", "3", False),
        (r"\boxed{\frac{1}{0}}", "3", False),
        (r"\boxed{((((((((}", "3", False),
        (r"\boxed{\begin{pmatrix} 1 \\ 2}", "3", False),
    ],
)
def test_last_box_is_compared_by_value(text, answer, correct):
    assert is_correct(text, answer) is correct
    assert process_results({"answer": answer}, [text]) == {"acc": float(correct)}


def test_answer_that_takes_too_long_is_wrong(monkeypatch):
    monkeypatch.setattr(math500, "TIMEOUT_SECONDS", 1)
    started = time.monotonic()
    assert not is_correct(r"\boxed{10000000000!}", "5")
    assert time.monotonic() - started < 4


def test_outside_the_main_thread_it_is_an_error_and_no_wrong_answer():
    outcome = []

    def score():
        try:
            outcome.append(is_correct(r"\boxed{3}", "3"))
        except ValueError as error:
            outcome.append(error)

    thread = threading.Thread(target=score)
    thread.start()
    thread.join()
    assert isinstance(outcome[0], ValueError)


def test_every_reference_scores_1_and_its_neighbour_0(real_documents):
    docs = real_documents("math500_test.jsonl")
    assert len(docs) == 500
    missed = [d["unique_id"] for d in docs if not is_correct(d["solution"], d["answer"])]
    assert not missed
    missed = [d["unique_id"] for d in docs if not is_correct("So\nThe answer is \\boxed{" + d["answer"], d["answer"])]
    assert not missed
    wrongly = [
        (doc["answer"], other["answer"])
        for doc, other in zip(docs, docs[1:] + docs[:1], strict=True)
        if doc["answer"] != other["answer"] and is_correct(rf"\boxed{{{other['answer']}}}", doc["answer"])
    ]
    assert wrongly == [("5", "x=5")]  # which is indeed equal
