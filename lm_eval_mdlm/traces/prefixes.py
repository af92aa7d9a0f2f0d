"""After which of its tokens a trace is scored (`--at`)."""

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import UsageError


DEFAULT = "0.25,0.5,0.75,1"


@dataclass(frozen=True)
class Reasoning:
    """The reasoning of a trace as it lies on the canvas."""

    token_ids: Sequence[int]
    """At all reasoning positions, from the first one on."""
    lengths: Sequence[int]
    """Positions of each of the template's reasoning segments."""
    end_token_ids: Sequence[int]

    @property
    def own(self) -> list[int]:
        """Places in `token_ids` of the tokens that are text: in each segment those before its first end of text."""
        places: list[int] = []
        start = 0
        for length in self.lengths:
            for place in range(start, min(start + length, len(self.token_ids))):
                if self.token_ids[place] in self.end_token_ids:
                    break
                places.append(place)
            start += length
        return places


class Prefixes(abc.ABC):
    """A rule for the prefixes of a trace; a frozen dataclass. The last one is always all of `token_ids`."""

    @abc.abstractmethod
    def of(self, reasoning: Reasoning, decode: Callable[[list[int]], str]) -> list[int]:
        """Numbers of first reasoning tokens, ascending.

        Args:
            reasoning: Of the trace.
            decode: From token ids to text.
        """


@dataclass(frozen=True)
class Shares(Prefixes):
    """After shares of the text's tokens, rounded up; the share 1 is the whole reasoning, its fillings included."""

    shares: tuple[float, ...]
    """From 0 to 1, ascending."""

    def of(self, reasoning: Reasoning, decode: Callable[[list[int]], str]) -> list[int]:
        own = reasoning.own
        return [_at_share(share, own, len(reasoning.token_ids)) for share in self.shares]


@dataclass(frozen=True)
class EveryToken(Prefixes):
    """Before the first token, and after each one of the text."""

    def of(self, reasoning: Reasoning, decode: Callable[[list[int]], str]) -> list[int]:
        return _distinct([0, *(place + 1 for place in reasoning.own), len(reasoning.token_ids)])


@dataclass(frozen=True)
class EverySentence(Prefixes):
    """Before the first sentence, and after each one: at `.`, `!` or `?` before a blank, and at the end of a line."""

    def of(self, reasoning: Reasoning, decode: Callable[[list[int]], str]) -> list[int]:
        own = reasoning.own
        texts = [decode([reasoning.token_ids[place] for place in own[:number]]) for number in range(len(own) + 1)]
        ends, last = [0], 0
        for number in range(1, len(own)):
            before, behind = texts[number], texts[number + 1][len(texts[number]) :]
            ends_here = before.endswith("\n") or (before.rstrip(" ").endswith((".", "!", "?")) and behind[:1].isspace())
            goes_on = bool(texts[-1][len(before) :].strip())
            if ends_here and goes_on and any(character.isalnum() for character in before[len(texts[last]) :]):
                ends.append(own[number - 1] + 1)
                last = number
        return _distinct([*ends, len(reasoning.token_ids)])


def parse_at(text: str) -> Prefixes:
    """From `sentence`, `token` or a list of shares.

    Raises:
        UsageError: If it is none of these.
    """
    named: dict[str, Prefixes] = {"sentence": EverySentence(), "token": EveryToken()}
    if text in named:
        return named[text]
    try:
        shares = sorted({float(share) for share in text.split(",")})
    except ValueError:
        shares = []
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise UsageError(f"--at must be shares from 0 to 1 such as {DEFAULT}, or sentence, or token, got {text!r}.")
    # Last comes the whole, whose score is the trace's.
    return Shares(tuple(dict.fromkeys([*shares, 1.0])))


def _at_share(share: float, own: Sequence[int], num_tokens: int) -> int:
    number = math.ceil(share * len(own) - 1e-9)
    if share == 1 or (not own and share):
        return num_tokens
    return own[number - 1] + 1 if number else 0


def _distinct(ascending: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(ascending))
