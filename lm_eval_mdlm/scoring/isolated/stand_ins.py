"""What stands on one side for a function, an iterator or another object that stays on the other.

It forwards calls, iteration and reading, never a comparison or arithmetic: a program's object that claims to equal
anything equals only itself. What comes back passes by value.
"""

import functools
from collections.abc import Callable, Coroutine, Iterator
from types import CoroutineType
from typing import Any


Ask = Callable[..., Any]
"""Called with the name of an operation, a handle, and arguments."""


class StandIn:
    """What every object can do."""

    def __init__(self, ask: Ask, handle: int) -> None:
        self._ask = ask
        self._handle = handle

    def __repr__(self) -> str:
        return str(self._ask("repr", self._handle))

    def __str__(self) -> str:
        return str(self._ask("str", self._handle))

    def __bool__(self) -> bool:
        return bool(self._ask("bool", self._handle))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "__name__":
            raise AttributeError(f"{name!r} stays with the object")
        return self._ask("getattr", self._handle, name)


class _Calls:
    def __call__(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return self._ask("call", self._handle, arguments, keywords)


class _Iterates:
    def __iter__(self: Any) -> Iterator[Any]:
        return self._ask("iter", self._handle)  # type: ignore[no-any-return]


class _Advances:
    def __iter__(self: Any) -> Iterator[Any]:
        return self  # type: ignore[no-any-return]

    def __next__(self: Any) -> Any:
        return self._ask("next", self._handle)


class _HasItems:
    def __len__(self: Any) -> int:
        return self._ask("len", self._handle)  # type: ignore[no-any-return]

    def __getitem__(self: Any, key: Any) -> Any:
        return self._ask("getitem", self._handle, key)


_ABILITIES = {"call": _Calls, "advance": _Advances, "iterate": _Iterates, "items": _HasItems}
_COROUTINE = "coroutine"


def abilities(value: Any) -> str:
    """What a stand-in for `value` must be able to do."""
    cls = type(value)
    if isinstance(value, CoroutineType):
        return _COROUTINE
    can = {
        "call": callable(value),
        "advance": hasattr(cls, "__next__"),
        "iterate": hasattr(cls, "__iter__") and not hasattr(cls, "__next__"),
        "items": hasattr(cls, "__len__") and hasattr(cls, "__getitem__"),
    }
    return " ".join(name for name, has in can.items() if has)


def stand_in(ask: Ask, handle: int, class_name: str, able: str) -> Any:
    """An object of a class of that name; a coroutine for a coroutine. KeyError for an unknown ability."""
    if able == _COROUTINE:
        return _finish(ask, handle)
    return _class(class_name, able)(ask, handle)


@functools.cache
def _class(name: str, able: str) -> Any:
    return type(name, (*(_ABILITIES[ability] for ability in able.split()), StandIn), {})


async def _finish(ask: Ask, handle: int) -> Any:
    return ask("await", handle)


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it to its end in an event loop of its own."""
    import asyncio  # slow to load, and rarely used

    return asyncio.run(coroutine)


READING: dict[str, Callable[..., Any]] = {
    "call": lambda function, arguments, keywords: function(*arguments, **keywords),
    "iter": iter,
    "next": next,
    "repr": repr,
    "str": str,
    "bool": bool,
    "len": len,
    "getitem": lambda owner, key: owner[key],
}
"""Operations on an object whose frames and globals must stay out of reach, as those of the test."""
EVERYTHING: dict[str, Callable[..., Any]] = {**READING, "getattr": getattr, "await": run_coroutine}
"""Operations on a program's objects."""
