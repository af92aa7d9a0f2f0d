"""Texts that no model should write and some do: for readers that may neither fail on them nor take long."""

import random
from collections.abc import Iterator


LONGEST = 40_000

_DIGIT_PIECES = "0 1 9 18 ,000 000 . e e9 E+99 / - _ ٣ ९ ½ ²"
_LATEX_PIECES = r"""
    \frac \frac{ \sqrt \sqrt[3]{ \boxed{ \boxed{} \fbox{ \left( \right) \text{ { } $ $$ \( \) \[ \] ^ _ ^{ \times \cdot
    \int_0^ \sum \, \! {,} \begin{pmatrix} \end{pmatrix} \\ & \pi \infty x ! = \le \log \cup \pm \binom{9}{4} \sin ' |
    \lfloor \overline{ \circ \%
"""
_DIGITS = [*_DIGIT_PIECES.split(), " ", "\uff11"]
_LATEX = _LATEX_PIECES.split()
_BRACKETS = list("()[]{}<>|⌈⌉")
_WORDS = [
    *("answer is ", "answer: ", "the answer is ", "Final Answer: The final answer is ", "I hope it is correct."),
    *("#### ", "####", "\n", ". ", ", ", " and ", " or ", " million", "```", "```python\n", "~~~\n", "def f(x):\n"),
    *("    return x\n", "Question:", "answer", "Step 1", "eighteen", " x ", " of ", "**", "*"),
]
_UNICODE = [
    "\0",
    "\u202e",
    "\u200d",
    "\ufeff",
    "\ud800",
    "😀",
    "é",
    "字",
    "\u2028",
    "\u00a0",
    "ﷺ",
    "\u0300",
    "≤",
    "π",
    "𝟙",
]
_KINDS = [_DIGITS, _LATEX, _BRACKETS, _WORDS, _UNICODE]
_PREFIXES = ["", "", "\\boxed{", "#### ", "The answer is ", "Final Answer: The final answer is $", "```python\n"]


def hostile_texts(count: int, seed: int) -> Iterator[str]:
    """Random mixtures and repetitions of pieces, one in ten of them up to `LONGEST` characters long."""
    rng = random.Random(seed)
    for _ in range(count):
        length = rng.randint(1, LONGEST) if rng.random() < 0.1 else rng.randint(1, 300)
        kinds = rng.choices(_KINDS, k=rng.randint(1, 3))
        pieces = [rng.choice(kind) for kind in kinds for _ in range(rng.randint(1, 4))]
        shape = rng.randrange(4)
        if shape == 0:  # one piece, over and over
            text = rng.choice(pieces) * length
        elif shape == 1:  # the same few, in turn
            text = "".join(pieces) * length
        elif shape == 2:  # all mixed
            text = "".join(rng.choice(rng.choice(kinds)) for _ in range(min(length, 4000)))
        else:  # openers, something, closers
            text = rng.choice(pieces) * (length // 3) + "18" + rng.choice(pieces) * (length // 3)
        yield (rng.choice(_PREFIXES) + text)[:length]
