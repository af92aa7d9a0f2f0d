"""Checks of single option values, which a command line delivers as whatever its text looked like."""

import difflib
import math
from collections.abc import Iterable
from typing import Any

from ..errors import UsageError
from .foreign_names import VALUES


ID_DIGITS = 18
"""At most, of a token id; Python reads thousands at most, and no vocabulary comes near."""


def integer(name: str, value: Any, minimum: int, maximum: float = math.inf) -> int:
    """A whole number, also written `4.0` or `"4"`; UsageError otherwise or outside [minimum, maximum]."""
    if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
        return value  # as it is: a float would round it from 2**53 on
    number = _parsed(value)
    if number is None or not number.is_integer() or not minimum <= number <= maximum:
        limits = f"at most {maximum:.0f}" if number is not None and number > maximum else f"at least {minimum}"
        raise UsageError(f"{name} must be a whole number, {limits}, got {value!r}; correct it or leave it out.")
    return int(number)


def number(name: str, value: Any, minimum: float = 0.0, maximum: float = math.inf) -> float:
    """A number in [minimum, maximum]; UsageError for anything else, NaN included."""
    parsed = _parsed(value)
    if parsed is None or not minimum <= parsed <= maximum:
        limits = f"at least {minimum:g}" if maximum == math.inf else f"from {minimum:g} to {maximum:g}"
        raise UsageError(f"{name} must be a number {limits}, got {value!r}; correct it or leave it out.")
    return parsed


def flag(name: str, value: Any) -> bool:
    """True or False, also as text; UsageError otherwise."""
    named = {"true": True, "false": False, "1": True, "0": False}.get(str(value).strip().lower())
    if named is None:
        raise UsageError(f"{name} must be True or False, got {value!r}.")
    return named


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """One of the known names; UsageError with the closest one otherwise."""
    known = list(known)
    if value not in known:
        foreign = VALUES.get((name, str(value)))
        hint = f" What others call so is {foreign} here." if foreign else closest(value, known)
        raise UsageError(f"{name} must be one of {', '.join(known)}, got {value!r}.{hint}")
    return str(value)


def closest(value: Any, known: Iterable[str]) -> str:
    """A sentence that suggests the known name of which the value looks like a misspelling, or nothing.

    Only a slip of one or two letters is taken for one: what merely shares a word may well mean something else.
    """
    known, letters = list(known), sorted(str(value))
    close = difflib.get_close_matches(str(value), known, n=1, cutoff=0.85)
    close += [name for name in known if sorted(name) == letters]  # two letters of a short name in the wrong order
    return f" Did you mean {close[0]!r}?" if close else ""


def texts(name: str, value: Any) -> tuple[str, ...]:
    """A string or several, empty ones left out as the harness does; UsageError otherwise."""
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, (list, tuple)) or not all(isinstance(text, str) for text in several):
        raise UsageError(f"{name} must be a string or a list of strings, got {value!r}.")
    return tuple(text for text in several if text)


def tokens(name: str, value: Any) -> tuple[int | str, ...]:
    """Token ids or token strings: one, a list, or text with spaces between; UsageError otherwise."""
    several = value.split() if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(token, bool) or not isinstance(token, (int, str)) for token in several):
        raise UsageError(f"{name} must hold token ids or token strings, got {value!r}.")
    return ids_or_texts(several)


def ids_or_texts(several: Iterable[int | str]) -> tuple[int | str, ...]:
    """Token ids for all that is written in digits, the rest as it is; no vocabulary has ids longer than `ID_DIGITS`."""
    return tuple(int(token) if str(token).isdecimal() and len(str(token)) <= ID_DIGITS else token for token in several)


def token_ids(name: str, wanted: str, value: Any) -> list[int]:
    """Token ids of a list, an array or a tensor as plain numbers; UsageError for anything else."""
    ids = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(ids, (list, tuple)) or not all(isinstance(token, int) for token in ids):
        raise UsageError(f"each {name} must be {wanted}, got {value!r:.60}; encode it with the tokenizer.")
    return list(ids)


def _parsed(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
