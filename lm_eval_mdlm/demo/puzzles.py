"""Letter puzzles whose order of deduction is not the order of writing.

Ten letters stand for digits, each defined by another one (`c=h+4`, modulo 10) but for one that is given. The digits
are asked for in alphabetical order; whoever may fill them in any order starts at the given one and follows the
definitions, whoever writes from left to right has to follow up to nine of them in the head for the first digit.
"""

import random
from dataclasses import dataclass

from .splits import Split, split_of


LETTERS = "abcdefghij"
REACH = 2
"""A letter is defined by one of the two deduced before it, so that chains are long."""


@dataclass(frozen=True, kw_only=True)
class Puzzle:
    """What the model reads, and the one right response."""

    prompt: str
    response: str


def draw_puzzle(rng: random.Random, split: Split) -> Puzzle:
    """A random puzzle of one split."""
    definitions, digits = _draw_definitions(rng)
    while split_of(f"puzzle {definitions}") != split:
        definitions, digits = _draw_definitions(rng)
    return Puzzle(prompt=f"Puzzle modulo 10: {definitions}\nDigits:", response=f" {digits}")


def _draw_definitions(rng: random.Random) -> tuple[str, str]:
    order = rng.sample(LETTERS, len(LETTERS))
    digits = {order[0]: rng.randrange(10)}
    definitions = {order[0]: f"{order[0]}={digits[order[0]]}"}
    for i, letter in enumerate(order[1:], start=1):
        known, amount = rng.choice(order[max(0, i - REACH) : i]), rng.randint(1, 9)
        digits[letter] = (digits[known] + amount) % 10
        definitions[letter] = f"{letter}={known}+{amount}"
    return ", ".join(definitions[letter] for letter in LETTERS), "".join(str(digits[letter]) for letter in LETTERS)
