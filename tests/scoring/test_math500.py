import random
from concurrent.futures import ProcessPoolExecutor

import pytest

from benchmarks.latex_forms import latex_forms
from lm_eval_mdlm.scoring import limited
from lm_eval_mdlm.scoring.equivalence import are_equal
from lm_eval_mdlm.scoring.latex import tidied
from lm_eval_mdlm.scoring.math500 import process_results


FORMS = dict(latex_forms())


def is_correct(text: str, answer: str) -> bool:
    return limited.is_correct(text, answer) is True


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
        (r"\boxed{" + "1" * 2000 + "}", "3", False),
    ],
)
def test_last_box_is_compared_by_value(text, answer, correct):
    assert is_correct(text, answer) is correct


@pytest.mark.parametrize(
    ("box", "answer", "correct"),
    [
        *((box, "2220", True) for box in (r"2\,220", r"2\;220", "2 220", "2{,}220", "2,220", r"2,\!220")),
        ("2 221", "2220", False),
        (r"10,\!080\,\mathrm{cm}", r"10,\!080", True),
        (r"x = 10,\!080", r"10,\!080", True),
        ("11111111100", r"11,\! 111,\! 111,\! 100", True),
        ("100, 200", "(100,200)", True),
        *((box, r"145^\circ", True) for box in ("145°", "145", r"145^{\circ}", r"145 \text{ degrees}", r"145\degree")),
        ("144°", r"145^\circ", False),
        *((box, "10", True) for box in (r"10\%", "10%", r"10 \text{ percent}", r"10\%.")),
        (r"11\%", "10", False),
        *((box, "52_8", True) for box in ("52_8", "52_{8}", "(52)_8", "x = 52_8", r"52_{\text{eight}}", "52_8.")),
        *((box, "52_8", False) for box in ("52_9", "52", "52_{10}", "53_8", "42", "42_{10}")),
        ("52_{10}", "52", True),
        ("52_8", "52", False),
        ("52_8", "42", False),
        ("0.0000672", ".0000672", True),
        (r"6.72 \times 10^{-5}", ".0000672", True),
        (".0000673", ".0000672", False),
        (r"6.73 \times 10^{-5}", ".0000672", False),
        ("0.333333", r"\frac13", True),
        ("0.333", r"\frac13", False),
        *((box, r"x \in [-2,7]", True) for box in (r"-2 \le x \le 7", "[-2,7]", r"7 \ge x \ge -2")),
        *((box, r"x \in [-2,7]", False) for box in (r"-2 < x \le 7", "(-2,7]", r"-2 \leq x \leq 8")),
        (r"\{x \mid -2 \le x \le 7\}", r"x \in [-2,7]", True),
        (r"3 < x \le 4", "(3,4]", True),
        (r"3 \le x \le 4", "(3,4]", False),
        (r"x>2", r"(2,\infty)", True),
        (r"x \ge 2", r"(2,\infty)", False),
        (r"x \leqslant 0", r"(-\infty, 0]", True),
        (r"x < 2 \text{ or } x > 3", r"(-\infty, 2) \cup (3, \infty)", True),
        (r"2 > x \lor 3 < x", r"(-\infty, 2) \cup (3, \infty)", True),
        (r"x \le 2 \text{ or } x > 3", r"(-\infty, 2) \cup (3, \infty)", False),
        (r"0<x<9 \text{ or } 36>x>9", r"(0,9) \cup (9,36)", True),
        (r"42 \text{ square units}.", "42", True),
        (r"n=\frac43.", r"\frac43", True),
        *(
            (box, r"\text{east}", True)
            for box in (r"\text{east.}", "east", r"\textbf{east}", r"{\text{east}}", "east.")
        ),
        ("west", r"\text{east}", False),
        *((box, r"\text{(C)}", True) for box in ("C", "(C)", r"\text{C}", r"\textbf{(C)}", r"\text{(C).}")),
        ("D", r"\text{(C)}", False),
        ("18.9", r"\$18.90", True),
        (r"864 \text{ in}^2", r"864 \mbox{ inches}^2", True),
        ("x = 5", "5", True),
        ("2+3=5", "5", True),
        ("5", "x=5", True),
        ("2x+3", "y = 2x + 3", True),
        ("5x - 7y + 11z + 4 = 0", "0", False),
        ("n = 0", "0", True),
        ("7,5,3", "3, 5, 7", True),
        ("3,5", "3, 5, 7", False),
        ("", r"\text{east}", False),
    ],
)
def test_what_belongs_to_the_value_decides(box, answer, correct):
    assert is_correct(rf"\boxed{{{box}}}", answer) is correct


@pytest.mark.parametrize("answer", [r"\text{Evelyn}", "52_8", r"(3,4]", r"10,\!080"])
def test_answer_is_right_in_every_form(answer):
    assert len(FORMS) >= 15
    assert [name for name, form in FORMS.items() if not is_correct(form(answer), answer)] == []


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"p - q.", "p - q"),
        (r"{{p - q}}\,", "p - q"),
        (r"{a}+{b}", "{a}+{b}"),
        (r"\(x\)+\(y\)", r"\(x\)+\(y\)"),
        (r"\$18.90", r"\$18.90"),
        ("1,000, 2,000", "1,000, 2,000"),  # plain commas are math-verify's to read
        ("12 345 678", "12345678"),
        ("1234 567", "1234 567"),
        ("0.123 456", "0.123 456"),
        (r"\left\{1, 2\right\}", r"\left\{1, 2\right\}"),
        (".", ""),
        ("", ""),
    ],
)
def test_tidying_takes_off_what_stands_around_a_value(latex, expected):
    assert tidied(latex) == expected
    assert tidied(expected) == expected


def test_every_reference_scores_1_and_its_neighbour_0(real_documents):
    docs = real_documents("math500_test.jsonl")
    assert len(docs) == 500
    docs = docs[::25] + [doc for doc in docs if "_" in doc["answer"]]
    missed = [d["unique_id"] for d in docs if process_results(d, [d["solution"]]) != {"acc": 1.0, "math_verify": 1.0}]
    assert not missed
    wrongly = [
        (doc["answer"], other["answer"])
        for doc, other in zip(docs, docs[1:] + docs[:1], strict=True)
        if doc["answer"] != other["answer"] and is_correct(rf"\boxed{{{other['answer']}}}", doc["answer"])
    ]
    assert wrongly == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_reference_is_right_in_every_form(form, real_documents):
    docs = real_documents("math500_test.jsonl")
    assert [doc["answer"] for doc in docs if not is_correct(form(doc["answer"]), doc["answer"])] == []


def _equal_pair(pair: tuple[str, str]) -> bool:
    return are_equal(*pair)


ONE_VALUE = (("5", "x=5"), ("36", r"36^\circ"), ("90", r"90^\circ"), (r"\frac14", r"\frac{1}{4}"))
EQUAL_AFTER_ALL = {*ONE_VALUE, *((second, first) for first, second in ONE_VALUE)}
"""References to different problems that are one value; a degree sign is not asked for."""


@pytest.mark.slow
def test_of_20000_swapped_pairs_only_equal_values_are_equal(real_documents):
    answers = sorted({tidied(doc["answer"]) for doc in real_documents("math500_test.jsonl")})
    pairs = [(gold, target) for gold in answers for target in answers if gold != target]
    pairs = random.Random(0).sample(pairs, 20_000)
    with ProcessPoolExecutor(2) as pool:
        verdicts = pool.map(_equal_pair, pairs, chunksize=500)
    assert {pair for pair, equal in zip(pairs, verdicts, strict=True) if equal} <= EQUAL_AFTER_ALL
