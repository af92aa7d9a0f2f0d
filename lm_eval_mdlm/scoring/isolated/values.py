"""The types whose values pass between test and program, each with how it is taken apart and put together.

The list is closed: nothing that is received chooses code to run. A value of a subclass arrives as one of an empty
subclass of the same name, so that `type(x) is int` tells them apart and no method of the program's comes along.
"""

import array
import builtins
import collections
import datetime
import decimal
import fractions
import functools
import gc
import math
import re
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One type. The parts of a value are what it consists of, in an order from which it can be rebuilt."""

    type: type
    parts: Callable[[Any], Iterable[Any]]
    make: Callable[..., Any] = lambda cls, *parts: cls(*parts)
    """Called with the class to make and the parts; of a mutable type only with the first `num_fixed` ones."""
    fill: Callable[[Any, Sequence[Any]], None] | None = None
    """Gives a value of a mutable type new contents, the parts behind the fixed ones; None for immutable types."""
    num_fixed: int = 0
    """How many parts, all of them numbers and short strings, a mutable value keeps for life."""
    unordered: bool = False


TYPES: dict[str, type] = {
    name: found for name, found in vars(builtins).items() if isinstance(found, type) and not name.startswith("_")
}
"""Built-in types, exceptions among them, by name."""

_MAX_FRACTION_BITS = 100_000  # the common divisor of longer ones takes seconds
_NUMPY_TYPE = re.compile(r"[<>|][biufc][0-9]{1,2}")


def _fill_sequence(value: Any, parts: Sequence[Any]) -> None:
    value[:] = parts


def _fill_set(value: Any, parts: Sequence[Any]) -> None:
    value.clear()
    for part in parts:  # one by one, so that the clock can end it where all hashes collide
        value.add(part)


def _fill_dict(value: Any, parts: Sequence[Any]) -> None:
    value.clear()
    for key, item in zip(parts[::2], parts[1::2], strict=True):
        value[key] = item


def _fill_defaultdict(value: Any, parts: Sequence[Any]) -> None:
    value.default_factory = parts[0]
    _fill_dict(value, parts[1:])


def _fill_deque(value: Any, parts: Sequence[Any]) -> None:
    value.clear()
    value.extend(parts)


def _fill_array(value: Any, parts: Sequence[Any]) -> None:
    value[:] = array.array(value.typecode, parts)


def _fill_bytearray(value: Any, parts: Sequence[Any]) -> None:
    value[:] = parts[0].encode("latin-1")


def _fill_numpy(value: Any, parts: Sequence[Any]) -> None:
    import numpy

    value[...] = numpy.frombuffer(bytes.fromhex(parts[0]), value.dtype).reshape(value.shape)


def _make_numpy(_: type, dtype: str, shape: str, *contents: str) -> Any:
    """An array to be filled, or with `contents` a scalar."""
    import numpy  # of the packages that programs may use, and slow to load

    if not _NUMPY_TYPE.fullmatch(dtype):
        raise ValueError(f"numpy's type {dtype!r} is not plain data")
    if contents:
        return numpy.frombuffer(bytes.fromhex(contents[0]), dtype)[0]
    return numpy.empty([int(length) for length in shape.split()], dtype)


def _numpy_parts(value: Any) -> tuple[str, str, str]:
    if not _NUMPY_TYPE.fullmatch(value.dtype.str):
        raise TypeError(f"numpy's type {value.dtype} is not plain data")
    return value.dtype.str, " ".join(map(str, value.shape)), value.tobytes().hex()


def _make_fraction(_: type, above: int, below: int) -> fractions.Fraction:
    if max(above.bit_length(), below.bit_length()) > _MAX_FRACTION_BITS:
        raise ValueError("a fraction that long is not read")
    return fractions.Fraction(above, below)


@functools.cache
def _namedtuple(name: str, *fields: str) -> Any:
    return collections.namedtuple(name, fields)  # type: ignore[misc]  # which refuses what is not an identifier


def _namedtuple_parts(value: Any) -> tuple[Any, ...]:
    return type(value).__name__, len(value._fields), *value._fields, *value


def _make_namedtuple(_: type, name: str, num_fields: int, *parts: Any) -> Any:
    return _namedtuple(name, *parts[:num_fields])(*parts[num_fields:])


def _datetime_parts(value: Any) -> tuple[int, ...]:
    if value.tzinfo is not None:
        raise TypeError("a time with a time zone is not plain data")
    return *value.timetuple()[:6], value.microsecond


def _dict_parts(value: Any) -> list[Any]:
    return [part for item in dict.items(value) for part in item]


KINDS: dict[str, Kind] = {
    "list": Kind(list, list, fill=_fill_sequence),
    "dict": Kind(dict, _dict_parts, fill=_fill_dict),
    "set": Kind(set, set, fill=_fill_set, unordered=True),
    "counter": Kind(collections.Counter, _dict_parts, fill=_fill_dict),
    "ordered": Kind(collections.OrderedDict, lambda value: [p for i in value.items() for p in i], fill=_fill_dict),
    "default": Kind(
        collections.defaultdict, lambda value: [value.default_factory, *_dict_parts(value)], fill=_fill_defaultdict
    ),
    "deque": Kind(
        collections.deque,
        lambda value: [value.maxlen, *value],
        lambda cls, maxlen: cls((), maxlen),
        _fill_deque,
        num_fixed=1,
    ),
    "array": Kind(array.array, lambda value: [value.typecode, *value], fill=_fill_array, num_fixed=1),
    "bytearray": Kind(bytearray, lambda value: [value.decode("latin-1")], fill=_fill_bytearray),
    "tuple": Kind(tuple, tuple, lambda cls, *parts: cls(parts)),
    "namedtuple": Kind(tuple, _namedtuple_parts, _make_namedtuple),
    "frozenset": Kind(frozenset, frozenset, lambda cls, *parts: cls(parts), unordered=True),
    "int": Kind(int, lambda value: [hex(value)], lambda cls, text: cls(int(text, 16))),
    "float": Kind(
        float,
        lambda value: ["math.nan" if value is math.nan else float.__repr__(value)],
        lambda cls, text: math.nan if text == "math.nan" else cls(float(text)),
    ),
    "complex": Kind(
        complex,
        lambda value: [repr(value.real), repr(value.imag)],
        lambda cls, *texts: cls(complex(*map(float, texts))),
    ),
    "str": Kind(str, lambda value: [str.__str__(value)]),
    "bytes": Kind(bytes, lambda value: [bytes.decode(value, "latin-1")], lambda cls, text: cls(text.encode("latin-1"))),
    "range": Kind(range, lambda value: [value.start, value.stop, value.step]),
    "slice": Kind(slice, lambda value: [value.start, value.stop, value.step]),
    "...": Kind(types.EllipsisType, lambda value: [], lambda cls: ...),
    "NotImplemented": Kind(types.NotImplementedType, lambda value: [], lambda cls: NotImplemented),
    "type": Kind(type, lambda value: [value.__name__], lambda cls, name: TYPES[name]),
    "fraction": Kind(fractions.Fraction, lambda value: [value.numerator, value.denominator], _make_fraction),
    "decimal": Kind(decimal.Decimal, lambda value: [decimal.Decimal.__str__(value)]),
    "date": Kind(datetime.date, lambda value: [value.year, value.month, value.day]),
    "datetime": Kind(datetime.datetime, _datetime_parts),
    "timedelta": Kind(datetime.timedelta, lambda value: [value.days, value.seconds, value.microseconds]),
    "keys": Kind(type({}.keys()), gc.get_referents, lambda cls, owner: dict.keys(owner)),
    "values": Kind(type({}.values()), gc.get_referents, lambda cls, owner: dict.values(owner)),
    "items": Kind(type({}.items()), gc.get_referents, lambda cls, owner: dict.items(owner)),
    "numpy array": Kind(object, _numpy_parts, _make_numpy, _fill_numpy, num_fixed=2),
    "numpy scalar": Kind(object, _numpy_parts, _make_numpy),
}
_NOT_BY_TYPE = ("namedtuple", "type", "numpy array", "numpy scalar")
_BY_TYPE = {kind.type: name for name, kind in KINDS.items() if name not in _NOT_BY_TYPE}


def kind_of(value: Any) -> tuple[str, str] | None:
    """Name of the value's kind, and of its class if that is a subclass ("" if not); None for what has no parts."""
    cls = type(value)
    if cls in _BY_TYPE:
        return _BY_TYPE[cls], ""
    if isinstance(value, type):
        return ("type", "") if TYPES.get(value.__name__) is value else None
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic):
        return "numpy scalar", ""
    if numpy and isinstance(value, numpy.ndarray):
        return "numpy array", ""
    if isinstance(value, tuple) and isinstance(getattr(value, "_fields", None), tuple):
        return "namedtuple", ""
    for base in cls.__mro__:
        if base in _BY_TYPE:
            return _BY_TYPE[base], cls.__name__
    return None


@functools.cache
def subclass(base: type, name: str) -> type:
    """An empty subclass of that name; TypeError if there can be none."""
    return type(name, (base,), {})


def as_number(value: Any) -> Any:
    """A foreign number, such as sympy's, by its value as a `float` of a subclass of the same name; else None."""
    cls = type(value)
    if hasattr(cls, "__index__"):
        return subclass(int, cls.__name__)(value.__index__())
    if hasattr(cls, "__float__"):
        return subclass(float, cls.__name__)(value)
    return None
