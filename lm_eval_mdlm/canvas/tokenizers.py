"""What is worked out of a tokenizer once, and remembered for as long as that tokenizer is there."""

import functools
import weakref
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from .text import Markers


More = ParamSpec("More")
Result = TypeVar("Result")
Work = Callable[Concatenate[Any, More], Result]


def once_per_tokenizer(most: int) -> Callable[[Work[More, Result]], Work[More, Result]]:
    """Remember up to `most` results for each tokenizer. They must not refer to it, or it would never go.

    One cache over all tokenizers would keep those of checkpoints that are long gone, with vocabularies of 100 MB.
    """

    def decorate(work: Work[More, Result]) -> Work[More, Result]:
        known: weakref.WeakKeyDictionary[Any, Callable[..., Result]] = weakref.WeakKeyDictionary()

        @functools.wraps(work)
        def remembering(tokenizer: Any, /, *more: More.args, **named: More.kwargs) -> Result:
            try:
                there = weakref.ref(tokenizer)
                is_new = tokenizer not in known
            except TypeError:  # nobody could tell when it goes, as of classes with slots alone, or it has no hash
                return work(tokenizer, *more, **named)
            if is_new:
                known[tokenizer] = functools.lru_cache(most)(lambda *own, **given: work(there(), *own, **given))
            return known[tokenizer](*more, **named)

        return remembering

    return decorate


@once_per_tokenizer(most=64)
def markers_of(tokenizer: Any, strings: tuple[str, ...]) -> Markers:
    """Sort strings by whether they hold the text of a special token, which only the tokenizer knows."""
    written = tuple(string for string in strings if _holds_special_token(tokenizer, string))
    return Markers(tuple(string for string in strings if string not in written), written)


def _holds_special_token(tokenizer: Any, string: str) -> bool:
    ids = tokenizer.encode(string, add_special_tokens=False)
    return any(
        not tokenizer.decode([token], skip_special_tokens=True) and tokenizer.decode([token], skip_special_tokens=False)
        for token in ids
    )
