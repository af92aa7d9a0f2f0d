"""From a written quantity to its exact value."""

import random
from fractions import Fraction

import pytest

from lm_eval_mdlm.scoring.numbers.exact import NotANumber
from lm_eval_mdlm.scoring.numbers.quantity import value_of
from lm_eval_mdlm.scoring.numbers.written import plain, tokens


def read(text: str) -> Fraction | None:
    try:
        return value_of(tokens(plain(text)))
    except NotANumber:
        return None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("- 10", -10),
        ("negative 10", -10),
        ("Profit: -10", -10),
        ("70 000", 70000),
        ("57\\;500", 57500),
        ("57~500.50", Fraction(115001, 2)),
        ("70'000", 70000),
        ("70_000", 70000),
        ("1.450.000", 1450000),
        ("1.8e1", 18),
        ("7E4", 70000),
        ("18e-1", Fraction(9, 5)),
        ("1.8 \\times 10^1", 18),
        ("1.8 x 10⁴", 18000),
        ("٧٠", 70),
        ("１８", 18),
        ("0x12", 18),
        ("\\frac{36}2", 18),
        ("\\frac12", Fraction(1, 2)),
        ("18½", Fraction(37, 2)),
        ("18 1/2", Fraction(37, 2)),
        ("-18\\frac{1}{2}", Fraction(-37, 2)),
        ("18\\frac{36}{3}", 216),  # improper: a product
        ("18 and a half hours", Fraction(37, 2)),
        ("5 and a half million", 5500000),
        ("\\sqrt{16}", 4),
        ("\\sqrt[3]{27}", 3),
        ("√16", 4),
        ("3\\sqrt{36}", 18),
        ("8^{1/3}", 2),
        ("-2^2", -4),
        ("(-2)^2", 4),
        ("2^3^2", 512),
        ("2**-1", Fraction(1, 2)),
        ("6/2/3", 1),
        ("1 - 2 - 3", -4),
        ("2(9)", 18),
        ("\\left(3\\right)\\left(6\\right)", 18),
        ("3 times 6", 18),
        ("36 divided by 2", 18),
        ("3 boxes * 6 eggs/box", 18),
        ("\\lfloor 18.5 \\rfloor + \\lceil 0.5 \\rceil", 19),
        ("|-18|", 18),
        ("4!", 24),
        ("22_8", 18),
        ("10010_{2}", 18),
        ("5 million", 5000000),
        ("$18k", 18000),
        ("5 hundred thousand dollars", 500000),
        ("2 dozens", 24),
        ("50% of 36", 18),
        ("1/2 of 36", 18),
        ("18 of 20", 18),
        ("18 for the first 3 days", 18),
        ("18 (9 * 2)", 18),
        ("18 (2 per day)", 18),
        ("18%", 18),
        ("18 sq. ft.", 18),
        ("18-year-old", 18),
        ("18 cm^2", 18),
        ("18 m/s^2", 18),
        ("18^\\text{th}", 18),
        ("18 K", 18),
        ("18 a day", 18),
        ("18 or so", 18),
        ("about 18", 18),
        ("x_1: 18", 18),
        ("covid-19", 19),
        ("18...", 18),
        ("((18", 18),
        ("\\textcolor{red}{18}", 18),
        ("\\text{all \\textbf{18} eggs}", 18),
    ],
)
def test_value_is_that_of_the_whole_expression(text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "eggs", "18 19", "18, 19", "18 apples 4 pears", "18 and 19", "18 to 20", "7:30", "-3:-2", "1.2.3"),
        *(
            "18x",
            "18 n",
            "18a",
            "18 - x",
            "18-x",
            "18 + tax",
            "x + 18",
            "3*x",
            "18\\pi",
            "18π",
            "18 α",
            "\\pi",
            "\\infty",
        ),
        *(
            "> 18",
            "x \\le 18",
            "\\pm 18",
            "18 < 20",
            "\\log 18",
            "\\sin 18",
            "18 \\bmod 5",
            "18 mod 5",
            "\\binom{4}{2}",
        ),
        *(
            "root of 16",
            "half of 36",
            "twice 9",
            "18/0",
            "\\frac123",
            "\\frac{1}{0}",
            "0^{-1}",
            "\\sqrt2",
            "\\sqrt{-4}",
            "2^{0.5}",
        ),
        *(
            "18_8",
            "18_{1}",
            "1.8_9",
            "18 (9 * 3)",
            "18 3/2",
            "18 1/2 1/2",
            "18 \\dots 20",
            "18 )( 2",
            "(18, 19)",
            "2.5!",
        ),
        *("10^{100000}", "9^{9^{9^9}}", "999!", "1e99999999999", "1e-99999999999", "9" * 100, "0." + "1" * 100),
        *(
            "(" * 50 + "18" + ")" * 50,
            "-" * 50 + "18",
            "1" + "+1" * 300,
            "2^" * 50 + "1",
            "\\sqrt[0]{4}",
            "\\sqrt[99]{1}",
        ),
    ],
)
def test_what_is_no_single_number_has_no_value(text):
    assert read(text) is None


def test_longest_number_is_exact_and_the_next_is_none():
    assert read("9" * 60) == 10**60 - 1
    assert read("9" * 61) is None


def random_expression(rng: random.Random, depth: int) -> tuple[str, Fraction | None, int]:
    """An expression, its value, and how tightly it binds (0 sum, 1 product, 2 power, 3 atom)."""
    if depth == 0 or rng.random() < 0.2:
        number = rng.choice([rng.randint(0, 99), rng.randint(1000, 2000000)])
        tenths = rng.randint(0, 9)
        return rng.choice(
            [
                (f"{number}", Fraction(number), 3),
                (f"{number:,}", Fraction(number), 3),
                (f"{number:,}".replace(",", "\\;"), Fraction(number), 3),
                (f"{number}.{tenths}", number + Fraction(tenths, 10), 3),
            ]
        )
    left, right = random_expression(rng, depth - 1), random_expression(rng, depth - 1)
    values = left[1], right[1]

    def inside(operand: tuple[str, Fraction | None, int], level: int) -> str:
        if operand[2] >= level:
            return operand[0]
        return rng.choice(["({})", "\\left({}\\right)", "[{}]"]).format(operand[0])

    kind = rng.randrange(6)
    if kind == 0:
        sign = rng.choice([" + ", "+", " plus "])
        return inside(left, 0) + sign + inside(right, 1), _combine(lambda a, b: a + b, *values), 0
    if kind == 1:
        sign = rng.choice([" - ", "-", " \u2212 ", " minus "])
        return inside(left, 0) + sign + inside(right, 1), _combine(lambda a, b: a - b, *values), 0
    if kind == 2:
        sign = rng.choice([" * ", "*", "\\cdot ", " \\times ", " x ", "×"])
        return inside(left, 1) + sign + inside(right, 2), _combine(lambda a, b: a * b, *values), 1
    if kind == 3:
        sign = rng.choice([" / ", "/", " \\div ", "÷", " divided by "])
        return inside(left, 1) + sign + inside(right, 2), _combine(lambda a, b: a / b if b else None, *values), 1
    if kind == 4:
        return f"\\frac{{{left[0]}}}{{{right[0]}}}", _combine(lambda a, b: a / b if b else None, *values), 3
    exponent = rng.randint(0, 3)
    zero = left[1] == 0 and exponent == 0
    value = None if left[1] is None or zero else left[1] ** exponent
    return inside(left, 3) + rng.choice([f"^{exponent}", f"^{{{exponent}}}", f"**{exponent}"]), value, 2


def _combine(operation, *values):
    return None if None in values else operation(*values)


def test_random_expressions_have_the_value_of_their_tree():
    rng = random.Random(0)
    outcomes = []
    for _ in range(3000):
        text, value, _ = random_expression(rng, rng.randint(1, 4))
        if value is not None and value.numerator.bit_length() + value.denominator.bit_length() > 900:
            continue
        assert read(text) == value, text
        outcomes.append(value is None)
    assert len(outcomes) > 2500
    assert 0 < sum(outcomes) < 1000
