import random
import re

import pytest

from lm_eval_mdlm.demo.puzzles import LETTERS, draw_puzzle
from lm_eval_mdlm.demo.scoring import score_answer, score_digits
from lm_eval_mdlm.demo.splits import SPLITS, split_of
from lm_eval_mdlm.demo.vocabulary import build_tokenizer
from lm_eval_mdlm.demo.word_problems import DELIMITER, MAX_SOLUTION_PIECES, draw_word_problem


DRAWN = [draw_word_problem(random.Random(seed), "train") for seed in range(300)]
PUZZLES = [draw_puzzle(random.Random(seed), "train") for seed in range(100)]
WORDS = {"doubles them": "*2", "triples them": "*3", "loses half": "//2"}


def change(phrase):
    """What a told event does to a count, read from its words."""
    if phrase in WORDS:
        return WORDS[phrase]
    sign = "-" if phrase.startswith(("gives away", "loses")) else "+"
    return sign + re.search(r"\d+", phrase)[0]


@pytest.mark.parametrize("problem", DRAWN[:60], ids=lambda problem: problem.answer)
def test_answer_follows_from_the_told_story(problem):
    first = int(re.search(r"has (\d+)", problem.prompt)[1])
    for phrase in re.findall(r"On \w+ she ([^.]+)\.", problem.prompt):
        first = eval(f"{first}{change(phrase)}")
    start, phrase = re.findall(r"has (\d+) \w+ and ([^.]+)\.", problem.prompt)[0]
    assert first + eval(f"{start}{change(phrase)}") == int(problem.answer)


@pytest.mark.parametrize("problem", DRAWN[:60], ids=lambda problem: problem.answer)
def test_every_equation_of_a_solution_holds(problem):
    equations = re.findall(r"[\d+*/-]+=[\d+*/-]+", problem.solution)
    assert len(equations) >= 7  # four days, the other person, the sum, the check
    for equation in equations:
        left, right = equation.split("=")
        assert eval(left) == eval(right)


def test_solutions_differ_in_manner_order_and_length():
    assert {problem.solution.split()[0].rstrip(":") for problem in DRAWN} >= {"Monday", "On", "For"}
    assert len({len(problem.solution) for problem in DRAWN}) > 20
    first_is_other = [not re.match(r" (On )?Monday| \S+ on Monday", problem.solution) for problem in DRAWN]
    assert 0.3 < sum(first_is_other) / len(DRAWN) < 0.7


@pytest.mark.parametrize("puzzle", PUZZLES[:30], ids=lambda puzzle: puzzle.response)
def test_digits_satisfy_every_definition_of_a_puzzle(puzzle):
    digits = dict(zip(LETTERS, map(int, puzzle.response.strip()), strict=True))
    definitions = re.findall(r"([a-j])=(?:([a-j])\+)?(\d)", puzzle.prompt)
    assert [letter for letter, _, _ in definitions] == list(LETTERS)
    for letter, known, number in definitions:
        assert digits[letter] == (digits.get(known, 0) + int(number)) % 10
    assert sum(not known for _, known, _ in definitions) == 1


def test_problem_depends_on_its_seed_alone():
    assert draw_word_problem(random.Random(5), "train") == DRAWN[5]
    assert draw_puzzle(random.Random(5), "train") == PUZZLES[5]


def numbers(problem):
    """What a word problem is about, whatever its words and names."""
    return tuple(re.findall(r"\d+|doubles|triples|half|more|gives away|loses", problem.prompt))


def test_splits_are_disjoint_in_what_the_problems_are_about():
    rng = random.Random(0)
    drawn = {split: {numbers(draw_word_problem(rng, split)) for _ in range(150)} for split in SPLITS}
    told = {split: {draw_puzzle(rng, split).prompt for _ in range(150)} for split in SPLITS}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not drawn[one] & drawn[other]
        assert not told[one] & told[other]


def test_split_shares_are_two_percent_each():
    found = [split_of(str(i)) for i in range(20_000)]
    assert found.count("test") / 20_000 == pytest.approx(0.02, abs=0.005)
    assert found.count("validation") / 20_000 == pytest.approx(0.02, abs=0.005)


def test_tokenizer_gives_digits_tokens_of_their_own_and_returns_every_text():
    texts = [text for p in DRAWN for text in (p.prompt, p.solution, DELIMITER)]
    tokenizer = build_tokenizer(texts)
    for text in [*texts[:90], PUZZLES[0].prompt, "Ein Satz – naïve, 7½ °C\n\n  x"]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text
        assert [tokenizer.decode([i]) for i in ids if re.search(r"\d", tokenizer.decode([i]))] == re.findall(
            r"\d", text
        )
    alone = tokenizer.encode(DELIMITER).ids
    inside = tokenizer.encode(DRAWN[0].solution + DELIMITER + "12").ids
    assert inside[-2 - len(alone) : -2] == alone
    assert max(len(tokenizer.encode(p.solution).ids) for p in DRAWN) <= MAX_SOLUTION_PIECES


@pytest.mark.parametrize(
    ("text", "acc"),
    [(" 1+1=2.\nThe answer is 2", 1), ("\nThe answer is 2 ", 1), (" 2", 0), ("\nThe answer is 12", 0), ("", 0)],
)
def test_answer_counts_only_behind_the_delimiter(text, acc):
    assert score_answer({"answer": "2"}, [text]) == {"acc": acc}


def test_puzzle_counts_only_if_every_digit_is_right():
    assert score_digits({"response": " 0123456789"}, [" 0123456789"]) == {"acc": 1}
    assert score_digits({"response": " 0123456789"}, [" 0123456780"]) == {"acc": 0}
