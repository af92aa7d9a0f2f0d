"""Every way of writing an answer, around golds made here and, where they are at hand, around the benchmark's own."""

import random

import pytest

from benchmarks.answer_forms import gsm8k_forms, surroundings
from lm_eval_mdlm.scoring.gsm8k import extract_number, gold_number, process_results


FORMS = dict(gsm8k_forms())
OWN = ["0", "7", "18", "-3", "-10", "360", "2125", "70000", "114200", "1450000"]


def misread(docs: list[dict]) -> list[tuple[str, str]]:
    """(form, text) of every right answer that scores 0 and of every one that is off by one and scores 1."""
    found = []
    for doc in docs:
        gold = gold_number(doc["answer"])
        for name, write in FORMS.items():
            right, wrong = write(str(gold)), write(str(gold + 1))
            if process_results(doc, [right])["acc"] != 1.0:
                found.append((name, right))
            if process_results(doc, [wrong])["acc"] != 0.0:
                found.append((name, wrong))
    return found


def misjudged(golds: list[str]) -> list[tuple[str, str, object]]:
    """(kind, text, what was read) of every expression around a number that is not read by its value."""
    found = []
    for seed, digits in enumerate(golds):
        for kind, text, value in surroundings(digits, random.Random(seed)):
            places = ("\\boxed{%s}", "\\boxed{%s", "#### %s", "The answer is %s.")
            read = {extract_number(place.replace("%s", text)) for place in places}
            if read != {value}:
                found.append((kind, text, read))
    return found


def test_right_answers_are_right_in_every_form_and_their_neighbours_wrong():
    assert len(FORMS) >= 70
    assert misread([{"answer": f"#### {digits}"} for digits in OWN]) == []


def test_what_surrounds_a_number_decides_its_value():
    assert misjudged(OWN) == []


@pytest.mark.slow
def test_every_reference_answer_is_right_in_every_form(real_documents):
    docs = real_documents("gsm8k_test.jsonl")
    assert len(docs) == 1319
    assert misread(docs) == []


@pytest.mark.slow
def test_what_surrounds_a_reference_answer_decides_its_value(real_documents):
    assert misjudged([str(gold_number(doc["answer"])) for doc in real_documents("gsm8k_test.jsonl")]) == []
