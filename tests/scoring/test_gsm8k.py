from fractions import Fraction

import pytest

from lm_eval_mdlm.scoring.gsm8k import extract_number, gold_number, process_results


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (r"#### 1, the answer is 2, but \boxed{3} or 4", 3),  # a box wins over everything
        (r"\boxed{1} then \boxed{2}", 2),
        (r"3 + 4 = 7, \boxed{}", None),  # and an empty one is no answer
        (r"\boxed{x}, so 7", None),
        (r"\boxed{9 \times 2 = 18}", 18),
        (r"\boxed{18 \text{ of } 20}", 18),
        ("#### 18\n#### 20", 18),
        ("the answer is 7\n#### 18 and 19", 18),
        ("#### so\nThe answer is 5", 5),
        ("The answer is 4. No, the answer is **18**, 2 more.\nThat is 20", 18),
        ("Answer: $18 for 3\nDone in 2", 18),
        ("The final answer is 15 * 8 = 120 pints", 120),
        ("the answer is\n18\n20", 18),
        ("He gave the correct answers 5 times, so 8 * 3 = 24.", 24),
        ("9 * 2 is 18.", 18),
        ("so nothing.", None),
        ("", None),
    ],
)
def test_number_is_taken_from_the_most_explicit_place(text, number):
    assert extract_number(text) == number


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0", 0),
        ("1,450,000", 1450000),
        ("1{,}450", 1450),
        (r"1,\!450", 1450),
        (r"1\,450", 1450),
        ("1, 2", 2),  # the last of two numbers
        ("12,34", 34),
        ("18.00", 18),
        ("2.50", Fraction(5, 2)),
        (".5", Fraction(1, 2)),
        ("18.", 18),
        ("$18", 18),
        (r"\$18", 18),
        ("-$18", -18),
        ("$-18$", -18),
        ("−18", -18),
        ("(-18)", -18),
        ("20-18", 18),
        ("x-18", 18),
        ("18%", 18),
        (r"18\%", 18),
        ("36/2", 18),
        ("3 / 4", Fraction(3, 4)),
        (r"\frac{36}{2}", 18),
        (r"-\dfrac{36}{2}", -18),
        (r"18\frac{36}{3}", 12),
        ("18kg", 18),
    ],
)
def test_numbers_are_read_by_value(written, value):
    assert extract_number(written) == value


def test_division_by_zero_is_no_number():
    assert extract_number("18/0") is None


@pytest.mark.parametrize(
    ("text", "score"), [(r"\boxed{1450.0}", 1.0), (r"\boxed{1450.01}", 0.0), (r"\boxed{145", 0.0), ("", 0.0)]
)
def test_score_compares_with_the_number_behind_the_hashes(text, score):
    doc = {"question": "q", "answer": "First 7 #3.\n#### 1,450"}
    assert process_results(doc, [text]) == {"acc": score}


def test_reference_without_hashes_has_no_number_and_matches_nothing():
    assert gold_number("18") is None
    assert process_results({"answer": "18"}, ["no number"]) == {"acc": 0.0}


ENDINGS = {
    "own": "#### {}",
    "box": r"The answer is \boxed{{{}}}.",
    "open box": r"The answer is \boxed{{{}",
    "words": "The answer is ${} dollars.\n\nThat took 5 steps.",
    "last number": "In all {}.",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_every_reference_solution_scores_1_however_its_answer_is_written(ending, real_documents):
    docs = real_documents("gsm8k_test.jsonl")
    assert len(docs) == 1319
    for doc in docs:
        steps, gold = doc["answer"].split("#### ")
        assert process_results(doc, [steps + ending.format(gold)]) == {"acc": 1.0}, doc
        near = str(int(gold.replace(",", "")) + 1)
        assert process_results(doc, [steps + ending.format(near)]) == {"acc": 0.0}, doc
