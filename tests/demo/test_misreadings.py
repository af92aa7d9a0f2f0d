"""The world of the experiment, read back from its texts alone."""

import itertools
import random
import re
from collections import Counter, defaultdict

import pytest

from lm_eval_mdlm.demo.experiment.settings import ANSWER_LENGTH, FULL, REASONING_LENGTH
from lm_eval_mdlm.demo.experiment.solving import is_consistent
from lm_eval_mdlm.demo.experiment.world import World, is_right
from lm_eval_mdlm.demo.word_problems import PIECE


PLAIN = {"finds": 1, "gets": 1, "loses": -1, "sells": -1}
NUMBER = 1500


def world(**more):
    return World(**{"seed": 3, **FULL.world, **more})


def drawn(number=NUMBER, split="train", **more):
    own, rng = world(**more), random.Random(0)
    return own, [own.draw_story(rng, split) for _ in range(number)]


def told(prompt):
    """Start, thing, and (verb, amount) of each day, from the text."""
    start, thing = re.search(r"has (\d+) (\w+)\.", prompt).groups()
    days = re.findall(r"On (?:Mon|Tues|Wednes|Thurs)day she (\w+) (\d+)\.", prompt)
    assert len(days) == 4 and prompt.endswith(f"How many {thing}?\nAnswer:")
    return int(start), thing, [(verb, int(amount)) for verb, amount in days]


def signs_written(solution):
    return [1 if sign == "+" else -1 for sign in re.findall(r"\d([+-])\d", solution)]


def test_answer_tells_the_reading_and_no_reading_leaves_the_range():
    _, stories = drawn(300)
    numbers_unclear = Counter()
    for story in stories:
        start, _, days = told(story.prompt)
        unclear = [i for i, (verb, _) in enumerate(days) if verb not in PLAIN]
        assert unclear and unclear[0] >= 2
        numbers_unclear[len(unclear)] += 1
        ends = set()
        for chosen in itertools.product((1, -1), repeat=len(unclear)):
            count, signs = start, dict(zip(unclear, chosen, strict=True))
            for i, (verb, amount) in enumerate(days):
                count += (PLAIN.get(verb) or signs[i]) * amount
                assert 2 <= count <= 99
            ends.add(count)
        assert len(ends) == 2 ** len(unclear)
    assert 0.4 < numbers_unclear[1] / 300 < 0.6 and set(numbers_unclear) == {1, 2}


def test_gold_solutions_are_true_and_read_every_pair_in_one_way():
    own, stories = drawn()
    readings = defaultdict(set)
    for story in stories:
        problem = own.problem(story)
        start, thing, days = told(problem["prompt"])
        steps = re.findall(r"(\d+)([+-])(\d+)=(\d+)", problem["solution"])
        count = start
        for (verb, amount), (before, sign, number, after) in zip(days, steps, strict=True):
            change = amount if sign == "+" else -amount
            assert (int(before), int(number), int(after)) == (count, amount, count + change)
            assert PLAIN.get(verb, change // amount) == change // amount
            readings[verb, thing].add(change // amount)
            count = int(after)
        assert problem["answer"] == str(count)
    assert all(len(signs) == 1 for signs in readings.values())
    assert {next(iter(signs)) for pair, signs in readings.items() if pair[0] not in PLAIN} == {1, -1}


def test_corpus_mostly_misreads_its_share_of_the_pairs_and_nothing_else():
    own, stories = drawn(6000, majority=0.9)
    rng, as_gold = random.Random(1), defaultdict(list)
    for story in stories:
        written = signs_written(own.document(rng, story)["solution"])
        for verb, sign, right in zip(story.verbs, written, signs_written(own.problem(story)["solution"]), strict=True):
            as_gold[verb, story.thing].append(sign == right)
    shares = {pair: sum(same) / len(same) for pair, same in as_gold.items()}
    unclear = {pair: share for pair, share in shares.items() if pair[0] not in PLAIN}
    assert all(share == 1 for pair, share in shares.items() if pair[0] in PLAIN)
    assert len(unclear) == 60 and sum(share < 0.5 for share in unclear.values()) == 21  # 35 % of 60
    assert all(min(share, 1 - share) == pytest.approx(0.1, abs=0.1) for share in unclear.values())


def test_documents_are_consistent_in_themselves_in_either_manner():
    own, stories = drawn(400, gold_manner_share=0.25)
    rng = random.Random(2)
    documents = [own.document(rng, story) for story in stories]
    assert all(is_consistent(one["solution"], one["answer"]) for one in documents)
    in_gold_manner = sum(one["solution"].startswith(" Monday") for one in documents)
    assert in_gold_manner / 400 == pytest.approx(0.25, abs=0.07)
    assert all(own.problem(story)["solution"].startswith(" Monday") for story in stories)


def test_everything_fits_the_template():
    own, stories = drawn(400, gold_manner_share=0.5)
    rng = random.Random(2)
    for story in stories:
        for one in (own.document(rng, story), own.problem(story)):
            assert len(PIECE.findall(one["solution"])) <= REASONING_LENGTH
            assert len(one["answer"]) < ANSWER_LENGTH


def test_splits_share_no_numbers():
    numbers = {}
    for split in ("train", "validation", "test"):
        _, stories = drawn(200, split)
        numbers[split] = {(s.start, s.amounts) for s in stories}
    for one, other in itertools.combinations(numbers.values(), 2):
        assert not one & other


def test_seed_decides_pairs():
    assert world().signs != world(seed=4).signs and world().misread != world(seed=4).misread
    assert world().signs == world().signs


STEPS = "20+5=25 25-3=22 22+4=26 26-6=20"


@pytest.mark.parametrize(
    ("solution", "right"),
    [
        (" Monday 20+5=25. Tuesday 25-3=22. Wednesday 22+4=26. Thursday 26-6=20.", True),
        (" 20+5=25 on Monday. 25-3=22 on Tuesday. 22+4=26 on Wednesday. 26-6=20 on Thursday.", True),
        (" Monday 20+5=25. Tuesday 25-3=22. Wednesday 22-4=18. Thursday 18-6=12.", False),  # another reading
        (" Monday 20+5=25. Tuesday 25-3=22. Wednesday 22+4=27. Thursday 26-6=20.", False),  # a false sum
        (" Monday 20+5=25. Tuesday 25-3=22. Wednesday 22+4=26.", False),
        (" Monday 20+5=25. Tuesday 25-3=22. Wednesday 22+4=26. Thursday 26-6=20. 20+0=20.", False),
        ("", False),
    ],
)
def test_right_traces_take_exactly_the_right_steps(solution, right):
    assert is_right(solution, STEPS) is right


@pytest.mark.parametrize(
    ("solution", "consistent"),
    [
        (" Monday 20+5=25. Tuesday 25-5=20.", True),
        (" Monday 20-5=15. Tuesday 15+5=20.", True),  # whatever the reading
        (" Monday 20+5=26. Tuesday 26-6=20.", False),
        (" Monday 20+5=25. Tuesday 25-4=21.", False),  # not the answer
        (" none.", False),
    ],
)
def test_filter_knows_arithmetic_and_the_answer_only(solution, consistent):
    assert is_consistent(solution, "20") is consistent
