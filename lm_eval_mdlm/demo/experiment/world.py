"""The world "misreadings": problems whose words a corpus often misreads, and whose answers tell the right reading.

A count changes on four days. What a verb does to it, add or take away, is plain for some verbs, and for the others
depends on the thing counted. For a share of these pairs most authors of the corpus have the wrong reading, for the
rest most have the right one; a wrong reading gives a wrong solution that is consistent in itself, as in texts of the
web. So a model of the corpus reads many problems wrongly, and only answers can teach it better.
"""

import functools
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..splits import Split, split_of
from ..word_problems import DAYS, FIRST_NAMES, THINGS


ADDING, TAKING = ("finds", "gets"), ("loses", "sells")
READ_EITHER_WAY = ("moves", "packs", "rolls", "shifts", "trades", "turns")
LEAST_COUNT, LARGEST_COUNT = 2, 99
_EQUATION = re.compile(r"(\d+)([+-])(\d+)=(\d+)")

Pair = tuple[str, str]
"""A verb that is read either way, and the thing counted."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """A problem without a reading."""

    name: str
    thing: str
    start: int
    verbs: tuple[str, ...]
    """One for each day, from Monday on."""
    amounts: tuple[int, ...]

    @property
    def split(self) -> Split:
        """The one split of all problems with these numbers, whatever words tell them."""
        return split_of(f"misreadings {self.start} {' '.join(map(str, self.amounts))}")

    @property
    def prompt(self) -> str:
        """What the model reads."""
        days = zip(DAYS, self.verbs, self.amounts, strict=False)
        told = [f"On {day} she {verb} {amount}." for day, verb, amount in days]
        text = " ".join([f"{self.name} has {self.start} {self.thing}.", *told, f"How many {self.thing}?"])
        return f"Question: {text}\nAnswer:"

    def counts(self, signs: Sequence[int]) -> list[int]:
        """At the start and after each day, under one reading."""
        changes = (sign * amount for sign, amount in zip(signs, self.amounts, strict=True))
        return list(itertools.accumulate(changes, initial=self.start))

    def readings(self) -> list[tuple[int, ...]]:
        """All combinations of signs that the verbs allow."""
        return list(itertools.product(*(_signs_of(verb) for verb in self.verbs)))

    @property
    def is_sound(self) -> bool:
        """Whether every reading keeps its counts in range, and no two have the same answer."""
        counts = [self.counts(reading) for reading in self.readings()]
        in_range = all(LEAST_COUNT <= count <= LARGEST_COUNT for own in counts for count in own)
        return in_range and len({own[-1] for own in counts}) == len(counts)


def _signs_of(verb: str) -> tuple[int, ...]:
    return {**dict.fromkeys(ADDING, (1,)), **dict.fromkeys(TAKING, (-1,))}.get(verb, (1, -1))


@dataclass(frozen=True, kw_only=True)
class World:
    """Which readings are right, and how a corpus reads. The seed decides every pair."""

    seed: int
    misread_share: float
    """Of the pairs, those that most of the corpus reads wrongly; from 0 to 1."""
    majority: float
    """Probability of the usual reading of a pair, for each of its uses in the corpus; from 0.5 to 1."""
    largest_amount: int
    """Of a change; the least is 2."""
    gold_manner_share: float
    """Share of the corpus that is written as gold solutions are; the rest is written in another manner."""

    @functools.cached_property
    def signs(self) -> Mapping[Pair, int]:
        """The right reading of every pair, 1 or -1."""
        rng = random.Random(f"signs {self.seed}")
        return {pair: rng.choice((1, -1)) for pair in itertools.product(READ_EITHER_WAY, THINGS)}

    @functools.cached_property
    def misread(self) -> frozenset[Pair]:
        """Pairs that the corpus mostly reads wrongly."""
        pairs = sorted(self.signs)
        return frozenset(random.Random(f"misread {self.seed}").sample(pairs, round(self.misread_share * len(pairs))))

    def draw_story(self, rng: random.Random, split: Split) -> Story:
        """A random problem of one split, with one or two verbs that are read either way, on the last two days."""
        while True:
            verbs = [*rng.choices(ADDING + TAKING, k=2), *rng.choices(READ_EITHER_WAY, k=2)]
            if rng.random() < 0.5:
                verbs[rng.choice((2, 3))] = rng.choice(ADDING + TAKING)
            story = Story(
                name=rng.choice(FIRST_NAMES),
                thing=rng.choice(THINGS),
                start=rng.randint(LEAST_COUNT, LARGEST_COUNT),
                verbs=tuple(verbs),
                amounts=tuple(rng.randint(2, self.largest_amount) for _ in verbs),
            )
            if story.is_sound and story.split == split:
                return story

    def document(self, rng: random.Random, story: Story) -> dict[str, str]:
        """One author's text, by the author's own readings: a training example."""
        reading = [self._usual(rng, verb, story.thing) for verb in story.verbs]
        return _told(story, reading, gold_manner=rng.random() < self.gold_manner_share)

    def problem(self, story: Story) -> dict[str, str]:
        """The problem with its gold solution and answer, and with the equations of a right trace as `steps`."""
        reading = [self._right(verb, story.thing) for verb in story.verbs]
        told = _told(story, reading, gold_manner=True)
        return {**told, "steps": " ".join(equations_in(told["solution"]))}

    def _right(self, verb: str, thing: str) -> int:
        signs = _signs_of(verb)
        return signs[0] if len(signs) == 1 else self.signs[verb, thing]

    def _usual(self, rng: random.Random, verb: str, thing: str) -> int:
        right = self._right(verb, thing)
        if len(_signs_of(verb)) == 1:
            return right
        is_usual = rng.random() < self.majority
        return right if is_usual != ((verb, thing) in self.misread) else -right


def equations_in(solution: str) -> list[str]:
    """The steps that a trace takes, whatever words stand around them."""
    return [match[0] for match in _EQUATION.finditer(solution)]


def is_right(solution: str, steps: str) -> bool:
    """Whether a trace takes exactly the right steps, each with its right reading and result."""
    return equations_in(solution) == steps.split()


def _told(story: Story, reading: Sequence[int], *, gold_manner: bool) -> dict[str, str]:
    counts = story.counts(reading)
    signed = zip(counts, reading, story.amounts, counts[1:], strict=False)
    steps = [f"{before}{'+' if sign > 0 else '-'}{amount}={after}" for before, sign, amount, after in signed]
    days = zip(DAYS, steps, strict=False)
    texts = [f" {day} {step}." if gold_manner else f" {step} on {day}." for day, step in days]
    return {"prompt": story.prompt, "solution": "".join(texts), "answer": str(counts[-1])}
