from fractions import Fraction

import pytest

from lm_eval_mdlm.scoring.gsm8k import extract_number, gold_number, process_results


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (r"#### 1, the answer is 2, but \boxed{3} or 4", 3),  # a box wins over everything
        (r"\boxed{1} then \boxed{2}", 2),
        ("\\boxed{1}\nThe answer is \\boxed{", 1),  # unless nothing stands in it
        ("\\boxed{1}\nThe answer is \\boxed{ }.", 1),
        (r"3 + 4 = 7, \boxed{}", None),  # without another an empty one is no answer
        (r"\boxed{x}, so 7", None),
        (r"\boxed{9 \times 2 = 18}", 18),
        (r"\boxed{18 \text{ of } 20}", 18),
        (r"\boxed{18 = \text{total}}", 18),
        (r"\boxed{18 = x}", 18),
        (r"\boxed{3 * 6 = 18 = x}", 18),
        (r"\boxed{18, 18}", 18),
        (r"\boxed{18, 19}", None),
        (r"\boxed{x = 18, y = 19}", None),
        (r"\boxed{18 - 3}", 15),
        ("#### 18\n#### 20", 20),
        ("the answer is 7\n#### 18 and 19", None),
        ("the answer is 7\n#### 18", 18),
        ("#### 18\nNo, the answer is 7", 7),
        ("#### so\nThe answer is 5", 5),
        ("#### 20-2", 18),
        ("#### 18 + 5 = 23", 23),
        ("#### x = 18", 18),
        ("#### Step 1\nadd 3\n#### Step 2\nadd 4\n#### 18", 18),
        ("#### Step 1\nadd 3\n#### Step 2\n3 + 4 = 7", 7),
        ("#### 1. Find it\n3 + 4 = 7\n#### 2. Add\n7 + 11 = 18", 18),
        ("#### Step 1 ... The answer is 18", 18),
        ("The answer is 4. No, the answer is **18**, 2 more.\nThat is 20", 18),
        ("The answer is 3 * 6 apples, or 18", 18),
        ("The answer is 17 or 18", None),
        ("The answer is 17, 18", None),
        ("#### 18; 19", None),
        ("The answer is 18; he has 2 more", 18),
        ("#### x < 18", None),
        ("So x > 18", None),
        ("The answer is 18, not 19.", 18),
        ("The answer is not 18", None),
        ("The answer is 18 because 3 * 6 = 18 and 2 + 3 = 5", 18),
        ("The answer is found by adding 5 and 13, which gives 18.", 18),
        ("The answer is 18!", 18),
        ("The answer is 18 (the answer is in dollars)", 18),
        ("Answer: $18 for 3\nDone in 2", 18),
        ("Answer = 18", 18),
        ("The final answer is 15 * 8 = 120 pints", 120),
        ("the answer is\n18\n20", 18),
        ("He gave the correct answers 5 times, so 8 * 3 = 24.", 24),
        ("9 * 2 is 18.", 18),
        ("He earns 20 - 2", 18),
        ("So in all 5 million.", 5000000),
        ("So 20 (18)", 18),
        ("So it is twice 18", None),
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
        ("20-18", 2),
        ("x-18", 18),
        ("18%", 18),
        (r"18\%", 18),
        ("36/2", 18),
        ("3 / 4", Fraction(3, 4)),
        (r"\frac{36}{2}", 18),
        (r"-\dfrac{36}{2}", -18),
        (r"18\frac{1}{2}", Fraction(37, 2)),
        ("18kg", 18),
    ],
)
def test_numbers_of_running_text_are_read_by_value(written, value):
    assert extract_number(written) == value


def test_division_by_zero_is_no_number():
    assert extract_number("18/0") is None


@pytest.mark.parametrize(
    "absurd", ["9" * 5000, "0." + "1" * 5000, "1/" + "9" * 5000, "1e" + "9" * 5000, "٣" * 5000, "1" + ",000" * 5000]
)
def test_absurd_numbers_are_no_answer_and_hide_none(absurd):
    assert extract_number(absurd) is None
    assert extract_number(rf"\boxed{{{absurd}}}") is None
    assert extract_number(f"The answer is 18.\n{absurd}") == 18
    assert extract_number(f"#### 18\n#### {'9' * 5000}") == 18


def test_word_that_the_question_asks_in_is_no_scale():
    question = "Each eats 12 eggs. How many dozens of eggs do they need?"
    assert extract_number(r"\boxed{2 \text{ dozen}}", question) == 2
    assert extract_number("#### 2 dozens", question) == 2
    assert extract_number("#### 2 dozens", "How many eggs are in a dozen?") == 24
    assert process_results({"question": question, "answer": "#### 2"}, ["#### 2 dozen"])["acc"] == 1.0


@pytest.mark.parametrize(
    ("text", "score"), [(r"\boxed{1450.0}", 1.0), (r"\boxed{1450.01}", 0.0), (r"\boxed{145", 0.0), ("", 0.0)]
)
def test_score_compares_with_the_number_behind_the_hashes(text, score):
    doc = {"question": "q", "answer": "First 7 #3.\n#### 1,450"}
    assert process_results(doc, [text])["acc"] == score


def test_reference_without_hashes_has_no_number_and_matches_nothing():
    assert gold_number("18") is None
    assert process_results({"answer": "18"}, ["no number"])["acc"] == 0.0


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
        assert process_results(doc, [steps + ending.format(gold)])["acc"] == 1.0, doc
        near = str(int(gold.replace(",", "")) + 1)
        assert process_results(doc, [steps + ending.format(near)])["acc"] == 0.0, doc
