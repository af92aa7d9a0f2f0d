"""A place in a list of tokens, and what can be seen from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from .written import Token


CLOSING = {
    "(": ")",
    "[": "]",
    "{": "}",
    "|": "|",
    r"\lvert": r"\rvert",
    r"\lfloor": r"\rfloor",
    r"\lceil": r"\rceil",
}
"""Closing bracket by opening one."""
FRACTIONS = (r"\frac", r"\dfrac", r"\tfrac", r"\cfrac")
ROOTS = (r"\sqrt", "√")


@dataclass
class Cursor:
    """Moves over tokens; `at` is the index of the next one."""

    tokens: list[Token]
    at: int = 0

    def peek(self, ahead: int = 0) -> Token | None:
        """The next token, or one further on; None behind the end."""
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else None

    def next_is(self, *texts: str, ahead: int = 0) -> bool:
        """Whether that token is one of these."""
        token = self.peek(ahead)
        return token is not None and token.text in texts

    def take(self, *texts: str) -> bool:
        """Pass over the next token if it is one of these."""
        found = self.next_is(*texts)
        self.at += found
        return found

    def operand_at(self, ahead: int = 0) -> bool:
        """Whether an expression can begin there."""
        while (token := self.peek(ahead)) and token.text in ("-", "+", *CLOSING):
            ahead += 1
        return token is not None and (token.kind == "number" or token.text in (*FRACTIONS, *ROOTS))

    def rest(self) -> Sequence[Token]:
        """The tokens that have not been passed."""
        return self.tokens[self.at :]

    def pass_argument(self) -> None:
        """Over one token, or over a bracket and what it holds."""
        depth = 0
        while token := self.peek():
            self.at += 1
            depth += (token.text in CLOSING) - (token.text in CLOSING.values())
            if depth <= 0:
                return

    def pass_to_end(self) -> None:
        """Over everything."""
        self.at = len(self.tokens)
