"""One answer, written in the ways of people and models: texts whose verdict is known because they were made for it."""

import random
from collections.abc import Callable, Iterator
from fractions import Fraction


Form = Callable[[str], str]

_SPOKEN = "First 3 of them, then 4 more: 3 + 4 = 7.\n"


def _grouped(separator: str) -> Form:
    """Groups of three digits."""
    return lambda digits: f"{int(digits):,}".replace(",", separator)


def _mantissa(digits: str, sign: str = "") -> str:
    sign_of, bare = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    return f"{sign_of}{bare[0]}.{bare[1:] or '0'}e{sign}{len(bare) - 1}"


def _as_fraction(template: str) -> Form:
    return lambda digits: template.format(2 * int(digits), 2)


def _signed(inner: Form) -> Form:
    """The sign in front of the whole."""
    return lambda digits: "-" + inner(digits[1:]) if digits.startswith("-") else inner(digits)


NUMBERS: dict[str, Form] = {
    "digits": lambda d: d,
    "commas": _grouped(","),
    "braced commas": _grouped("{,}"),
    "commas with \\!": _grouped(",\\!"),
    "blanks": _grouped(" "),
    "\\, between": _grouped("\\,"),
    "\\; between": _grouped("\\;"),
    "\\  between": _grouped("\\ "),
    "~ between": _grouped("~"),
    "thin blanks": _grouped("\u2009"),
    "narrow no-break blanks": _grouped("\u202f"),
    "no-break blanks": _grouped("\u00a0"),
    "apostrophes": _grouped("'"),
    "decimals": lambda d: f"{d}.00",
    "commas and decimals": lambda d: f"{int(d):,}.00",
    "leading zero": lambda d: d.replace("-", "-0") if d.startswith("-") else "0" + d,
    "dollars": _signed(lambda d: f"${d}"),
    "escaped dollars": _signed(lambda d: f"\\${d}"),
    "dollars and cents": _signed(lambda d: f"\\${int(d):,}.00"),
    "formula": lambda d: f"${d}$",
    "round brackets": lambda d: f"\\({d}\\)",
    "bold": lambda d: f"**{d}**",
    "braces": lambda d: f"{{{d}}}",
    "brackets": lambda d: f"({d})",
    "power of ten": _mantissa,
    "power of ten, plus sign": lambda d: _mantissa(d, "+0"),
    "times a power of ten": lambda d: _mantissa(d).replace("e", " \\times 10^{") + "}",
    "slash": _as_fraction("{}/{}"),
    "\\frac": _as_fraction("\\frac{{{}}}{{{}}}"),
    "\\dfrac": _as_fraction("\\dfrac{{{}}}{{{}}}"),
    "\\frac without braces": _as_fraction("\\frac{{{}}}{}"),
    "difference": lambda d: f"{int(d) + 7} - 7",
    "sum": lambda d: f"{int(d) - 7} + 7",
    "power": lambda d: f"{d}^1",
    "root": _signed(lambda d: f"\\sqrt{{{int(d) ** 2}}}"),
    "minus apart": _signed(lambda d: f" {d}"),
    "typographic minus": lambda d: d.replace("-", "\u2212"),
    "fullwidth": lambda d: "".join(chr(ord(c) + 0xFEE0) for c in d),
    "percent": lambda d: f"{d}\\%",
    "unit": lambda d: f"{d} eggs",
    "unit without blank": lambda d: f"{d}kg",
    "\\text unit": lambda d: f"{d} \\text{{ eggs}}",
    "\\mathrm unit": lambda d: f"{d}\\,\\mathrm{{cm}}^2",
    "rate": lambda d: f"{d} miles/hour",
    "rate in words": lambda d: f"{d} dollars per day",
    "of": lambda d: f"{d} of the 200000000",
    "degrees": lambda d: f"{d}^\\circ",
    "equation": lambda d: f"x = {d}",
    "equation, number first": lambda d: f"{d} = \\text{{total}}",
    "equation with its steps": lambda d: f"{int(d) - 7} + 7 = {d}",
    "approximately": lambda d: f"\\approx {d}",
    "in words before": lambda d: f"x \\approx {d}",
    "remark": lambda d: f"{d} (all of them)",
}
"""The number alone; each in every place of `PLACES` but where `suits` says otherwise."""

PLACES: dict[str, str] = {
    "box": "The answer is \\boxed{{{}}}.",
    "box, not closed": "The answer is \\boxed{{{}",
    "hashes": "#### {}",
    "answer is": "The answer is {}.",
}

TEXTS: dict[str, str] = {
    "box, full stop in it": "\\boxed{{{}.}}",
    "box, comma in it": "\\boxed{{{},}}",
    "box, semicolon in it": "\\boxed{{{};}}",
    "box in a formula": "So $\\boxed{{{}}}$ in all.",
    "box, then an open empty one": "so \\boxed{{{}}}\nThe answer is \\boxed{{",
    "two boxes": "\\boxed{{3}} no, \\boxed{{{}}}",
    "box of a box": "\\boxed{{\\boxed{{{}}}}}",
    "\\fbox": "\\fbox{{{}}}",
    "hashes without a blank": "####{}",
    "hashes, then a sentence": "#### {}\n\nThat took 3 steps.",
    "hashes as headings": "#### Step 1\nAdd.\n#### Step 2\nAgain.\n#### {}",
    "numbered headings": "#### 1. Add\n3 + 4 = 7\n#### 2. Result\nThe answer is {}",
    "hashes of steps, then answer": "#### Step 1 Add 3.\nThe answer is {}",
    "hashes with result": "#### 9 * 2 = {}",
    "answer:": "Answer: {}",
    "**Answer:**": "**Answer:** {}",
    "**answer is**": "**The answer is {}**",
    "final answer": "The final answer is ${}$. I hope it is correct.",
    "answer on the next line": "The answer is\n{}",
    "answer, because": "The answer is {} because 2 + 3 = 5.",
    "answer, in brackets": "The answer is {} (2 + 3 for each).",
    "answer, more to come": "The answer is {}.\nThat took 5 steps.",
    "answer, corrected": "The answer is 3. No, the answer is {}.",
    "answer with product": "The answer is 1 * {} apples, or {}",
    "answer with result": "The answer is 15 * 8 = {} pints",
    "last number": "In all that makes {}.",
    "last number, equation": "3 + 4 = {} eggs",
    "last number, dollars": "He pays ${} then.",
}
"""Whole texts around the digits."""


def suits(number: str, place: str) -> bool:
    """Whether people write that there: an open box ends with its formula, and the line of an answer begins with it."""
    if place == "box, not closed":
        return number not in ("formula", "round brackets")
    if place == "hashes":
        return number not in ("in words before",)
    return True


def gsm8k_forms() -> Iterator[tuple[str, Form]]:
    """Name and form of every combination, and of every whole text; a form takes the digits, with a sign."""
    for number, write in NUMBERS.items():
        for place, around in PLACES.items():
            if suits(number, place):
                yield f"{number} / {place}", lambda d, write=write, around=around: _SPOKEN + around.format(write(d))
    for name, text in TEXTS.items():
        yield name, lambda d, text=text: _SPOKEN + text.format(*[d] * text.count("{}"))


def surroundings(digits: str, rng: random.Random) -> Iterator[tuple[str, str, Fraction | None]]:
    """(kind, what stands in a box, its value) for things around a number that change it; None is no single number."""
    value, other = Fraction(int(digits)), rng.randint(2, 9)
    yield "operator", f"{digits} + {other}", value + other
    yield "operator", f"{digits} - {other}", value - other
    yield "operator", f"{digits}-{other}", value - other
    yield "operator", f"{digits} \\times {other}", value * other
    yield "operator", f"{digits} \\cdot {other}", value * other
    yield "operator", f"{digits} * {other}", value * other
    yield "operator", f"{digits} x {other}", value * other
    yield "operator", f"{digits} \\div {other}", value / other
    yield "operator", f"{digits}/{other}", value / other
    yield "operator", f"{digits}({other})", value * other
    yield "operator", f"{digits} plus {other}", value + other
    yield "operator", f"{digits} divided by {other}", value / other
    yield "operator", f"({digits} + {other}) * {other}", (value + other) * other
    yield "operator", f"{other} * {other} - {digits}", other * other - value
    yield "operator", f"{other}\\left({digits} - {other}\\right)", other * (value - other)
    yield "fraction", f"\\frac{{{digits}}}{{{other}}}", value / other
    yield "fraction", f"\\frac{{{digits}}}{other}", value / other
    yield "fraction", f"\\dfrac{{{other}}}{{{digits}}}", other / value if value else None
    yield "fraction", f"{digits}/0", None
    if value >= 0:
        yield "power", f"{digits}^2", value**2
        yield "power", f"{digits}^{{{other}}}", value**other
        yield "power", f"{digits}**2", value**2
        yield "power", f"{digits}\u00b2", value**2
        yield "power", f"{digits} squared", value**2
        yield "mixed", f"{digits} 1/{other}", value + Fraction(1, other)
        yield "mixed", f"{digits}\\frac{{1}}{{{other}}}", value + Fraction(1, other)
        yield "mixed", f"{digits} \\tfrac1{other}", value + Fraction(1, other)
        yield "mixed", f"{digits}\u00bd", value + Fraction(1, 2)
        yield "mixed", f"{digits} and a half", value + Fraction(1, 2)
        yield "mixed", f"{digits} 1/{other} hours", value + Fraction(1, other)
        yield "root", f"\\sqrt{{{digits}}}", _square_root(int(digits))
        yield "root", f"\\sqrt{{{int(digits) ** 2}}}", value
        yield "root", f"\u221a{int(digits) ** 2}", value
        yield "root", f"\\sqrt[3]{{{int(digits) ** 3}}}", value
        yield "root", f"{other}\\sqrt{{{int(digits) ** 2}}}", other * value
        yield "base", f"{digits}_{{10}}", value
        yield "base", f"{digits}_8", _in_base(digits, 8)
        yield "base", f"{digits}_{{{other}}}", _in_base(digits, other)
    yield "power", f"10^{{{other}}}", Fraction(10**other)
    yield "power", f"2^{{-{other}}}", Fraction(1, 2**other)
    yield "power of ten", f"{digits}e{other}", value * 10**other
    yield "power of ten", f"{digits}e-{other}", value / 10**other
    yield "power of ten", f"{digits} \\times 10^{other}", value * 10**other
    for mark in (", ", "; ", " and ", " or ", " to ", "\\ \\text{or}\\ ", ":", " \\& ", "\\\\"):
        yield "list", f"{digits}{mark}{int(digits) + 1}", None
    yield "list", f"{digits} {other}", None
    yield "list", f"\\{{{digits}, {other}\\}}", None
    yield "list", f"({digits}, {other})", None
    yield "list", f"x = {digits}, y = {int(digits) + 1}", None
    yield "list", f"{digits} apples and {int(digits) + 1} pears", None
    yield "list", f"{digits} hours {other} minutes", None
    for word, scale in (("hundred", 100), ("thousand", 1000), ("million", 10**6), ("billion", 10**9), ("dozen", 12)):
        yield "scale", f"{digits} {word}", value * scale
        yield "scale", f"{digits} \\text{{ {word} dollars}}", value * scale
    yield "scale", f"{digits}k", value * 1000
    for unit in (" eggs", "kg", "\\%", "^\\circ", "\\text{ cm}^2", " m^2", "/day", " per hour", "-inch", "th", " USD"):
        yield "unit", f"{digits}{unit}", value
    for relation in ("> ", "x < ", "\\geq ", "\\pm ", "\\neq "):
        yield "no number", f"{relation}{digits}", None
    for symbol in ("x", "\\pi", " n", "\\sqrt{2}", " - x", " + y", "\\%x", "y^2"):
        yield "no number", f"{digits}{symbol}", None
    yield "no number", f"\\log {digits}", None
    yield "no number", f"\\sin({digits})", None
    yield "no number", f"{digits} \\bmod 7", None


def _square_root(number: int) -> Fraction | None:
    return next((Fraction(n) for n in range(number + 1) if n * n == number), None) if number < 10**7 else None


def _in_base(digits: str, base: int) -> Fraction | None:
    value = 0
    for digit in digits:
        if int(digit) >= base:
            return None
        value = base * value + int(digit)
    return Fraction(value)
