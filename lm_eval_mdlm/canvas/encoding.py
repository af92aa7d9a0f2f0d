"""Text to token ids, none of which is ever the mask (docs/semantics.md section 1)."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import UsageError
from .tokenizers import once_per_tokenizer


class Encoded(NamedTuple):
    """The tokens of a text."""

    token_ids: list[int]
    held_mask: bool
    """Whether the text held what the tokenizer takes for the mask, and which was tokenised as ordinary text."""


class TextEncoder:
    """Encodes text with a tokenizer; what the tokenizer would take for the mask token becomes ordinary text.

    A mask in a prompt would be seen by the network as a position to fill, and never be filled; in a template or a
    training example it would become a target.

    Args:
        tokenizer: With `encode(text, add_special_tokens=...)` and `decode`.
        mask_token_id: Of the checkpoint.
    """

    def __init__(self, tokenizer: Any, mask_token_id: int) -> None:
        self.tokenizer = tokenizer
        self._mask_token_id = mask_token_id

    def encode(self, text: str, *, add_special_tokens: bool) -> Encoded:
        """The tokens of `text`.

        Raises:
            UsageError: If the tokenizer makes masks even of the single characters.
        """
        token_ids: list[int] = self.tokenizer.encode(text, add_special_tokens=add_special_tokens)
        if self._mask_token_id not in token_ids:
            return Encoded(token_ids, held_mask=False)
        for attempt in self._ordinary(text, add_special_tokens):
            if self._mask_token_id not in attempt:
                return Encoded(attempt, held_mask=True)
        raise UsageError(
            f"the tokenizer makes the mask token {self._mask_token_id} of the text {text!r:.60}, even character by "
            f"character; take that out of the text, or give mask_token_id=<id>."
        )

    def _ordinary(self, text: str, add_special_tokens: bool) -> Iterator[list[int]]:
        """Tokens of the text with the mask's characters as ordinary ones, the best way first."""
        without_mask = _without_mask(self.tokenizer, self._mask_token_id)
        if without_mask is not None:
            yield list(without_mask.encode(text, add_special_tokens=add_special_tokens).ids)
        # Piece by piece: no piece holds the whole text of the mask.
        mask = self.tokenizer.decode([self._mask_token_id], skip_special_tokens=False)
        head, *rest = text.split(mask) if mask else list(text)
        token_ids: list[int] = self.tokenizer.encode(head, add_special_tokens=add_special_tokens)
        for piece in rest:
            for part in (*mask, piece):
                token_ids += self.tokenizer.encode(part, add_special_tokens=False)
        yield token_ids


@once_per_tokenizer(most=2)
def _without_mask(tokenizer: Any, mask_token_id: int) -> Any:
    """The tokenizers-library object with the mask token spelt in a way that no text has; None where there is none.

    Renamed, not removed: the ids of added tokens follow from their number.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    settings = json.loads(backend.to_str())
    for token in settings.get("added_tokens", ()):
        if token["id"] == mask_token_id:
            token["content"] = f"\U000f0000{token['content']}\U000f0000"
    renamed = type(backend).from_str(json.dumps(settings))
    known, ours = ({v: k for k, v in b.get_vocab(True).items()} for b in (backend, renamed))
    known.pop(mask_token_id, None)
    ours.pop(mask_token_id, None)
    return renamed if known == ours else None
