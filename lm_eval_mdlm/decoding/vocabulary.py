"""What rules may know of the model's tokens."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The model's tokens, for rules that know some of them by name."""

    size: int
    """Logits per position."""
    end_ids: tuple[int, ...]
    """End of text, and the family's end of turn; empty where there is none."""
    encode: Callable[[str, str], list[int]]
    """From the name of an option and a text to its tokens, no special ones added; UsageError without a tokenizer."""
    fingerprint: Callable[[str], str]
    """From the name of an option to a digest of all tokens and ids; UsageError without a tokenizer."""
