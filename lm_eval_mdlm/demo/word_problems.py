"""Word problems in the style of GSM8K, each with many valid solutions.

A problem is a *skeleton*: a count that changes day by day, a second count that does not depend on it, and their sum.
The days are too many to be followed in one pass of a small network, so the answer needs the written steps. A solution
is written in one of four manners, which differ in length and in where the numbers stand, with the independent step
first or last and the sum in either order. That is on purpose: where only one continuation is right, marginals never
conflict and decoding many tokens at once costs nothing.
"""

import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from .splits import Split, split_of


FIRST_NAMES = ("Ann", "Carla", "Ella", "Hana", "June", "Lena")
SECOND_NAMES = ("Ben", "Dev", "Finn", "Gus", "Ivan", "Kofi")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
THINGS = ("apples", "books", "cards", "coins", "eggs", "marbles", "pens", "plums", "shells", "stamps")
NUM_DAYS = (4, 5)
LARGEST_COUNT = 99
DELIMITER = "\nThe answer is "
PIECE = re.compile(r" ?[A-Za-z]+|\d| ?[^A-Za-z\d\s]|\s")
"""What the demo tokenizer makes one token of, in these texts."""
MAX_SOLUTION_PIECES = 104


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to a count: an operation and its number, `+5`, `-17`, `*2`, `*3` or `/2`."""

    sign: str
    number: int

    def apply(self, count: int) -> int:
        """The count afterwards."""
        results = {"+": count + self.number, "-": count - self.number, "*": count * self.number}
        return results[self.sign] if self.sign in results else count // self.number

    def __str__(self) -> str:
        return f"{self.sign}{self.number}"


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """The numbers of a problem."""

    start: int
    changes: tuple[Change, ...]
    """One for each day, from Monday on."""
    other_start: int
    other_change: Change

    @property
    def counts(self) -> list[int]:
        """The first person's count at the start and after each day."""
        return list(itertools.accumulate(self.changes, lambda count, change: change.apply(count), initial=self.start))

    @property
    def other_count(self) -> int:
        """What the second person ends with."""
        return self.other_change.apply(self.other_start)

    @property
    def total(self) -> int:
        """The number asked for."""
        return self.counts[-1] + self.other_count

    @property
    def split(self) -> Split:
        """The one split of all problems with these numbers, whatever names and words tell them."""
        changes = " ".join(map(str, self.changes))
        return split_of(f"word problem {self.start} {changes}; {self.other_start} {self.other_change}")


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A way of writing a whole solution; each function takes a left-hand side and its result."""

    day: Callable[[str, str, int], str]
    other: Callable[[str, str, int], str]
    total: Callable[[str, int], str]


MANNERS = (
    Manner(
        day=lambda day, side, result: f"{day} {side}={result}.",
        other=lambda name, side, result: f"{name} {side}={result}.",
        total=lambda side, result: f"Together {side}={result}.",
    ),
    Manner(
        day=lambda day, side, result: f"{side}={result} on {day}.",
        other=lambda name, side, result: f"{side}={result} for {name}.",
        total=lambda side, result: f"{side}={result} together.",
    ),
    Manner(
        day=lambda day, side, result: f"On {day}: {side}={result}.",
        other=lambda name, side, result: f"For {name}: {side}={result}.",
        total=lambda side, result: f"In total {side}={result}.",
    ),
    Manner(
        day=lambda day, side, result: f"{day}: {result}={side}.",
        other=lambda name, side, result: f"{name}: {result}={side}.",
        total=lambda side, result: f"Sum: {result}={side}.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class WordProblem:
    """One told problem: what the model reads, one valid solution, and the number asked for."""

    prompt: str
    solution: str
    answer: str


def draw_word_problem(rng: random.Random, split: Split) -> WordProblem:
    """A random problem of one split, told and solved."""
    skeleton = _draw_skeleton(rng)
    while skeleton.split != split:
        skeleton = _draw_skeleton(rng)
    names = (rng.choice(FIRST_NAMES), rng.choice(SECOND_NAMES))
    thing = rng.choice(THINGS)
    solution = _solve(rng, skeleton, names[1], thing)
    while len(PIECE.findall(solution)) > MAX_SOLUTION_PIECES:
        solution = _solve(rng, skeleton, names[1], thing)
    prompt = f"Question: {_tell(rng, skeleton, names, thing)}\nAnswer:"
    return WordProblem(prompt=prompt, solution=solution, answer=str(skeleton.total))


def _draw_skeleton(rng: random.Random) -> Skeleton:
    count = start = rng.randint(4, 40)
    changes = []
    for _ in range(rng.choice(NUM_DAYS)):
        changes.append(_draw_change(rng, count, kinds="++--*/"))
        count = changes[-1].apply(count)
    other_start = rng.randint(4, 60)
    return Skeleton(
        start=start,
        changes=tuple(changes),
        other_start=other_start,
        other_change=_draw_change(rng, other_start, kinds="+-"),
    )


def _draw_change(rng: random.Random, count: int, *, kinds: str) -> Change:
    while True:
        sign = rng.choice(kinds)
        number = {"*": rng.choice((2, 3)), "/": 2}.get(sign) or rng.randint(2, 20)
        change = Change(sign=sign, number=number)
        if (sign != "/" or count % 2 == 0) and 2 <= change.apply(count) <= LARGEST_COUNT:
            return change


def _phrase(rng: random.Random, change: Change) -> str:
    phrases = {
        "+": (f"finds {change.number} more", f"gets {change.number} more"),
        "-": (f"gives away {change.number}", f"loses {change.number}"),
        "*": ("doubles them",) if change.number == 2 else ("triples them",),
        "/": ("loses half",),
    }
    return rng.choice(phrases[change.sign])


def _tell(rng: random.Random, skeleton: Skeleton, names: tuple[str, str], thing: str) -> str:
    told = [f"{names[0]} has {skeleton.start} {thing}."]
    days = zip(DAYS, skeleton.changes, strict=False)
    told += [f"On {day} she {_phrase(rng, change)}." for day, change in days]
    told.append(f"{names[1]} has {skeleton.other_start} {thing} and {_phrase(rng, skeleton.other_change)}.")
    return " ".join([*told, f"How many {thing} do they have together?"])


def _solve(rng: random.Random, skeleton: Skeleton, other_name: str, thing: str) -> str:
    """One of the valid solutions; it starts with a space, as it follows `Answer:`."""
    manner, counts = rng.choice(MANNERS), skeleton.counts
    steps = zip(DAYS, counts, skeleton.changes, counts[1:], strict=False)
    days = [manner.day(day, f"{before}{change}", after) for day, before, change, after in steps]
    other = manner.other(other_name, f"{skeleton.other_start}{skeleton.other_change}", skeleton.other_count)
    sentences = [other, *days] if rng.random() < 0.5 else [*days, other]
    ends = [counts[-1], skeleton.other_count]
    rng.shuffle(ends)
    sentences.append(manner.total(f"{ends[0]}+{ends[1]}", skeleton.total))
    # What follows comes after the answer is known: reasoning for early exits to save.
    rng.shuffle(ends)
    sentences.append(f"Check: {skeleton.total}-{ends[0]}={ends[1]}.")
    total = skeleton.total
    sentences.append(rng.choice((f"So {total} {thing}.", f"All have {total}.", f"That makes {total} {thing}.")))
    return " " + " ".join(sentences)
