"""Equations in running text, recomputed."""

import json
import random

import pytest

from lm_eval_mdlm.scoring.equations import arithmetic_is_right, equations


RIGHT = [
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 clips altogether.",
    "Working 50 minutes, she earned 0.2 x 50 = $<<0.2*50=10>>10.",
    "100 - 50 - 30 - 15 = $5 more",
    "So 3 apples + 4 apples = 7 apples, and 7 - 2 = 5.",
    "50% of 36 = 18",
    "(2 + 3) * 4 = 20 = 4 * 5",
    "- 3 + 4 = 7\n- 2 * 3 = 6",
    "It changes by -3 + 5 = 2.",
    r"\frac{36}{2} = 18 and $3 \times 6 = 18$",
    "1,200 * 2 = 2,400. Then 0.5 + .25 = 0.75",
    "In 2 days he gets 3 + 4 = 7 coins. x = 5, y = 4",
    "2 + 2 = 4. 3 + 3 = 6.",
    "She works 8 hours a day for $18 per hour so she makes 8*18 = 144 per 8-hour shift",
    "They cost $55 which left a difference of 75-55 = $20",
    "12 apples divided by 4 = 3",
]
WRONG = [
    "48/2 = 25",
    "2 + 2 = 5, and 3 + 3 = 6",
    "2 + 2 = 4 and then 3 + 3 = 7.",
    "48/2 = <<48/2=25>>24",
    "(2 + 3) * 4 = 20, 1 + 1 = 3",
    "3 apples + 4 apples = 8 apples",
    "10 / 3 = 3.33",
    "2 + 3 = 5 + 1 = 6",
    "1 + 1 = -2",
]
NOTHING = [
    "",
    "He has 5 apples.",
    "x = 5",
    "5x + 3*2 = 18",
    "10 / 3 ≈ 3.33",
    r"10 / 3 \approx 3.33",
    "3 + 4 = many",
    "1 / 0 = 5",
    "total = 3 + 4",
    "a - b = 3",
    "4 * x = 9400",
    "100/5 = 5A/5",
    "20% * 1000 = 200",
    "1/4 = 25%",
    "He drove 5 meters at the 1st turn + 8 meters after the 2nd = 13",
]


@pytest.mark.parametrize("text", RIGHT)
def test_right_arithmetic(text):
    assert arithmetic_is_right(text) is True


@pytest.mark.parametrize("text", WRONG)
def test_wrong_arithmetic(text):
    assert arithmetic_is_right(text) is False


@pytest.mark.parametrize("text", NOTHING)
def test_text_without_an_equation_says_nothing(text):
    assert arithmetic_is_right(text) is None


@pytest.mark.parametrize("seed", range(20))
def test_equations_made_at_random_are_found_with_both_sides(seed):
    rng = random.Random(seed)
    texts, expected = [], []
    for _ in range(30):
        numbers, signs = [rng.randrange(1, 99) for _ in range(3)], rng.choices("+-*", k=2)
        formula = f"{numbers[0]} {signs[0]} {numbers[1]} {signs[1]} {numbers[2]}"
        stated = eval(formula) + rng.choice([0, 0, 1])  # Python is the oracle
        texts.append(rng.choice(["She has {} = {} pens.", "So {} = {},", "{} = {}\n", "That is $ {} = {} $ ."]))
        texts[-1] = texts[-1].format(formula, stated)
        expected.append((eval(formula), stated))
    assert list(equations(" ".join(texts))) == expected


def test_hostile_texts_end_soon():
    for text in ("1+" * 5000 + "=2", "=" * 5000, "1 = " * 3000, "(" * 3000 + "=1", json.dumps("9" * 9999) + "+1=2"):
        assert arithmetic_is_right(text) in (None, True, False)
