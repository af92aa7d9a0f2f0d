"""Exact arithmetic on fractions, bounded: what is no fraction, or would be too long, is `NotANumber`."""

import math
from fractions import Fraction


MAX_BITS = 1000
"""Of numerator and denominator together; about 300 digits."""
MAX_ROOT = 20


class NotANumber(Exception):
    """What was read is not a single number."""


def bounded(value: Fraction) -> Fraction:
    """The value itself, if it is short enough."""
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise NotANumber
    return value


def divided(above: Fraction, below: Fraction) -> Fraction:
    """The quotient; not by zero."""
    if not below:
        raise NotANumber
    return bounded(above / below)


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """`base ** exponent`, for a broken exponent only where the root is rational."""
    if exponent.denominator != 1:
        base = root(base, exponent.denominator)
    times = exponent.numerator
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) == 1:
        return base if times % 2 else Fraction(1)
    if (not base and times <= 0) or size * abs(times) > MAX_BITS:
        raise NotANumber
    return bounded(base**times)


def root(value: Fraction, index: int) -> Fraction:
    """The real root of that index (2 to `MAX_ROOT`), if it is rational."""
    if not 2 <= index <= MAX_ROOT or (value < 0 and index % 2 == 0):
        raise NotANumber
    magnitude = Fraction(_whole_root(abs(value.numerator), index), _whole_root(value.denominator, index))
    return -magnitude if value < 0 else magnitude


def factorial(value: Fraction) -> Fraction:
    """Of a whole number from 0 to 100."""
    if value.denominator != 1 or not 0 <= value <= 100:
        raise NotANumber
    return bounded(Fraction(math.factorial(int(value))))


def _whole_root(number: int, index: int) -> int:
    low, high = 0, 1 << (number.bit_length() // index + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**index <= number else (low, middle - 1)
    if low**index != number:
        raise NotANumber
    return low
