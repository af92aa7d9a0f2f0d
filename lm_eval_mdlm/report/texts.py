"""Texts by number, so that each stands on the page once."""

from dataclasses import dataclass, field


@dataclass
class Texts:
    """Texts by number; equal ones have the same."""

    numbers: dict[str, int] = field(default_factory=dict)
    size: int = 0
    """Characters, all together."""

    def number_of(self, text: str) -> int:
        """Of a text, which is kept."""
        if text not in self.numbers:
            self.numbers[text] = len(self.numbers)
            self.size += len(text)
        return self.numbers[text]
