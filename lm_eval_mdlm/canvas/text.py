"""From a region's tokens to the returned text, and when that text can no longer change (docs/semantics.md 6, 7)."""

import bisect
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .template import Span


Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class ReturnedText:
    """What a row gives back."""

    text: str
    num_tokens: int
    """Committed tokens in it: no fixed text, no special tokens, nothing after an end of text, and after a cut at a
    stop string the fewest leading tokens whose text holds all that is returned."""


@dataclass(frozen=True)
class TextRule:
    """How the tokens of one row's region become its text."""

    spans: tuple[Span, ...]
    mask_token_id: int
    end_token_ids: tuple[int, ...]
    decode: Decode
    """Tokens to text, special tokens left out."""
    until: tuple[str, ...] = ()
    """Stop strings, looked for only after the last fixed text."""
    is_silent: Callable[[int], bool] = lambda token_id: False
    """Whether a token is a special one that `decode` leaves out."""

    def read(self, token_ids: Sequence[int]) -> ReturnedText:
        """The text of a region, its unfilled masks dropped."""
        head, tail = self._split_spans()
        pieces = [span.text if span.kind == "text" else self.decode(self._kept(span, token_ids)) for span in head]
        num_tokens = sum(self._heard(self._kept(span, token_ids)) for span in head if span.kind != "text")
        kept = [self._kept(span, token_ids) for span in tail]
        full = self._joined(kept, sum(map(len, kept)))
        cut = _first_stop(full, self.until)
        returned = full if cut is None else full[:cut]
        leading = itertools.islice(itertools.chain(*kept), self._fewest(kept, returned, cut is not None))
        return ReturnedText("".join(pieces) + returned, num_tokens + self._heard(leading))

    def is_settled(self, token_ids: Sequence[int]) -> bool:
        """Whether no further commit can change the text.

        So it is once every segment is settled by itself: it holds no mask before its first end of text, or, in
        the part after the last fixed text, a stop string is complete with no mask before it.
        """
        head, tail = self._split_spans()
        if not all(span.kind == "text" or self._is_closed(span, token_ids) for span in head):
            return False
        text = ""
        for span in tail:
            text += self.decode(self._committed_prefix(span, token_ids))
            if not self._is_closed(span, token_ids):
                return self._stop_is_final(text)
        return True

    def _split_spans(self) -> tuple[Sequence[Span], Sequence[Span]]:
        """Spans up to the last fixed text, and those after it."""
        after = max((i for i, span in enumerate(self.spans, start=1) if span.kind == "text"), default=0)
        return self.spans[:after], self.spans[after:]

    def _until_end(self, span: Span, token_ids: Sequence[int]) -> list[int]:
        """The segment's tokens before its first end of text, masks included."""
        tokens = list(token_ids[span.start : span.stop])
        ends = (i for i, token in enumerate(tokens) if token in self.end_token_ids)
        return tokens[: next(ends, len(tokens))]

    def _kept(self, span: Span, token_ids: Sequence[int]) -> list[int]:
        return [token for token in self._until_end(span, token_ids) if token != self.mask_token_id]

    def _heard(self, tokens: Iterable[int]) -> int:
        """How many of them may show in the text."""
        return sum(not self.is_silent(token) for token in tokens)

    def _is_closed(self, span: Span, token_ids: Sequence[int]) -> bool:
        return self.mask_token_id not in self._until_end(span, token_ids)

    def _committed_prefix(self, span: Span, token_ids: Sequence[int]) -> list[int]:
        tokens = self._until_end(span, token_ids)
        return tokens[: tokens.index(self.mask_token_id)] if self.mask_token_id in tokens else tokens

    def _joined(self, kept: Sequence[list[int]], num_tokens: int) -> str:
        """Text of the leading tokens of consecutive segments, each segment decoded by itself."""
        text = ""
        for tokens in kept:
            text += self.decode(tokens[: max(num_tokens, 0)])
            num_tokens -= len(tokens)
        return text

    def _fewest(self, kept: Sequence[list[int]], returned: str, was_cut: bool) -> int:
        total = sum(map(len, kept))
        if not was_cut:
            return total
        # Once the leading tokens hold the whole text, more tokens do too, so the first such number is bisected.
        return bisect.bisect_left(range(total), True, key=lambda n: self._joined(kept, n).startswith(returned))

    def _stop_is_final(self, text: str) -> bool:
        """Whether the first stop string of an open text stays the first, whatever follows."""
        text = text.rstrip("\ufffd")  # an unfinished character, which the next token may complete
        cut = _first_stop(text, self.until)
        if cut is None:
            return False
        # A longer stop string that began before the cut and reaches the end may still be completed by later tokens.
        return not any(stop.startswith(text[start:]) for stop in self.until for start in range(cut))


def _first_stop(text: str, until: Sequence[str]) -> int | None:
    """Where the earliest stop string begins; None without one."""
    return min((at for stop in until if stop and (at := text.find(stop)) >= 0), default=None)
