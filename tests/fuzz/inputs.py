"""Where inputs come from: noise, and sound inputs that were changed; and how a check is run on many of them."""

import copy
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from lm_eval_mdlm.errors import UsageError


MOST_SECONDS = 10.0
"""Of the processor, for one input."""
MOST_SECONDS_WAITED = 60.0
"""By the clock, so that a wait is found; far more, since others may have the processor."""
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
    *(2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30, 10**400),
    *("", " ", "\0", "\x1b[2J", "\ud800", "\u202e", "é", "1", "1e5", "nan", "inf", "None", "null", "True", "x" * 3000),
    *("../x", "/etc/passwd", "=1+1", "$x$", "{{x}}", "{% for", "<b>", "9" * 5000, "٣", "²", "1_000", "0x10"),
    *([], {}, [[]], [None], {"": None}, {"a": [{"b": 1}]}, [1, "a", None], [0.5], [-1], ["", ""]),
]
"""Values that code forgets about."""
SCALARS = st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=20), st.booleans(), st.none())
PLAIN = st.recursive(
    SCALARS, lambda own: st.lists(own, max_size=4) | st.dictionaries(st.text(max_size=8), own, max_size=4), max_leaves=8
)
"""Anything that JSON can hold."""


def sizes(few: int, many: int) -> Any:
    """Marks a test that is run on a few inputs by default and on many where slow tests are."""
    return pytest.mark.parametrize("number", [few, pytest.param(many, marks=pytest.mark.slow)], ids=["few", "many"])


def fuzz(number: int, check: Callable[..., None], *inputs: st.SearchStrategy[Any]) -> None:
    """Run a check on so many inputs, the same in every run; one that takes too long fails."""

    @settings(
        max_examples=number,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.tuples(*inputs))
    def run(drawn: tuple[Any, ...]) -> None:
        with in_time():
            check(*drawn)

    run()


@contextmanager
def in_time() -> Iterator[None]:
    """Ends what takes more than `MOST_SECONDS` of the processor or `MOST_SECONDS_WAITED` by the clock."""
    with (
        _ended_by(signal.ITIMER_REAL, signal.SIGALRM, MOST_SECONDS_WAITED, "by the clock"),
        _ended_by(signal.ITIMER_PROF, signal.SIGPROF, MOST_SECONDS, "of the processor"),
    ):
        yield


@contextmanager
def _ended_by(timer: int, kind: signal.Signals, seconds: float, words: str) -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise AssertionError(f"an input took more than {seconds} s {words}")

    before = signal.signal(kind, late)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(kind, before)


def told(call: Callable[[], Any], *, lines: bool = False) -> Any:
    """What a call returns, or None where it ended in the one kind of error that is documented, in one line."""
    try:
        return call()
    except UsageError as error:
        assert str(error).strip() and (lines or "\n" not in str(error)), repr(str(error))
        return None


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key below a plain value."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@st.composite
def changed(draw: Any, *sound: Any, most: int = 3) -> Any:
    """A sound plain value with a few entries replaced, removed, doubled, swapped or renamed."""
    value = copy.deepcopy(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(0, most))):
        found = places(value)
        if not found:
            return value
        inside, key = draw(st.sampled_from(found))
        match draw(st.integers(0, 5)):
            case 0 | 1:
                inside[key] = copy.deepcopy(draw(SCALARS))
            case 2:
                inside[key] = copy.deepcopy(draw(PLAIN))
            case 3:
                del inside[key]
            case 4 if isinstance(inside, dict):
                inside[draw(st.text(max_size=8) | st.sampled_from(["a", "k", "", "\ud800"]))] = inside.pop(key)
            case _:
                other, there = draw(st.sampled_from(found))
                inside[key] = copy.deepcopy(other[there]) if there in _keys(other) else None
    return value


def _keys(container: Any) -> Any:
    return container if isinstance(container, dict) else range(len(container))


@st.composite
def damaged(draw: Any, *sound: bytes) -> bytes:
    """Sound bytes with a few of them changed, cut off, moved or doubled; or noise."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(draw(st.sampled_from(sound)))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 3))):
        at, to = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        match draw(st.integers(0, 5)):
            case 0:
                content[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del content[at:]
            case 2:
                del content[at : min(to, at + 40)]
            case 3:
                content[at:at] = content[at:to]
            case 4:
                content[at:at] = draw(st.sampled_from([b"\n", b"\0", b"{", b'"', b"\xff", b"[" * 2000, b"9" * 5000]))
            case _:
                lines = content.split(b"\n")
                chance.shuffle(lines)
                content = bytearray(b"\n".join(lines))
    return bytes(content)


def json_of(value: Any) -> str:
    """As others write it, NaN and half characters included."""
    return json.dumps(value)


def files_below(folder: Path) -> set[str]:
    """Of everything that is there."""
    return {os.path.join(at, name) for at, _, names in os.walk(folder) for name in names}
