"""English words, and a few signs, that matter around a number."""

from fractions import Fraction


SCALES = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "lakh": 10**5,
    "crore": 10**7,
    "dozen": 12,
    "mn": 10**6,
    "bn": 10**9,
}
"""What a word behind a number multiplies it by; each also in the plural."""
ATTACHED_SCALES = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}
"""Only right behind the number: 18k, but 18 K is a temperature."""
PARTS = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}
"""As in "18 and a half"."""
SIGNS = {"plus": "+", "minus": "-", "times": "*", "x": "*", "X": "*"}
"""Operators where a number follows."""
SIGNS_WITH_BY = {"divided": "/", "multiplied": "*"}
NEGATIVE = {"negative", "minus"}
UNIT_LETTERS = set("gmslhdcwLCFKWVAJN")
"""Any other single letter behind a number is a variable."""

_CHANGES = """
    root half twice double triple thrice square cube third quarter log ln sin cos tan mod modulo not except without sqrt
    factorial never no
"""
_REMARKS = """
    of out per in for from after at by on over within each every with because since as which that so if when where while
    given more less fewer than before during under above below left this the but not
"""
_CLAUSES = "because since as so which that if when where while given but not therefore thus hence after"

CHANGES = frozenset(_CHANGES.split())
"""The number behind one of these is not the value."""
JOINS = frozenset({"and", "or", "to", "through", "versus", "vs", "mod", "modulo", "until", "nor", "then"})
"""Between two numbers these make two answers of them, or a range, or another value."""
REMARKS = frozenset(_REMARKS.split())
"""Numbers behind one of these are said of the value and are no part of it: 18 of 20, 18 for the 3 of them."""
CLAUSES = frozenset(_CLAUSES.split())
"""Behind a number one of these begins another clause of the sentence."""
