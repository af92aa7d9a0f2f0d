"""From a region's tokens to the returned text, and when that text can no longer change (docs/semantics.md 6, 8)."""

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .template import Span


Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class ReturnedText:
    """What a row gives back."""

    text: str
    num_tokens: int
    """Committed tokens in it: no fixed text, no given answer, no special tokens, nothing after an end of text, and
    after a cut at a stop string the fewest leading tokens whose text holds all that is returned; nothing that was left
    out as thinking."""


@dataclass(frozen=True)
class Markers:
    """Strings to look for in a text: those that hold the text of a special token, and all others.

    A special token leaves no text. So the former are looked for in the text with special tokens written out, and the
    latter in the text as it is returned.
    """

    plain: tuple[str, ...] = ()
    written: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.plain or self.written)


@dataclass(frozen=True)
class _Text:
    """A text in two spellings, piece by piece."""

    pieces: tuple[tuple[str, str], ...]
    """As returned, and with special tokens written out: equal, or the former empty."""

    @property
    def plain(self) -> str:
        return "".join(plain for plain, _ in self.pieces)

    @property
    def written(self) -> str:
        return "".join(written for _, written in self.pieces)

    def plain_place(self, place: int) -> int:
        """Where in `plain` a place in `written` is."""
        return sum(
            min(max(place - start, 0), len(plain))
            for start, (plain, _) in zip(
                accumulate((len(written) for _, written in self.pieces), initial=0), self.pieces, strict=False
            )
        )

    def first(self, markers: Markers, start: int = 0) -> int | None:
        """Where in `plain`, from `start` on, the earliest marker begins; None without one."""
        found = [at for at in (_first(self.plain, markers.plain, start),) if at is not None]
        places = (at for marker in markers.written for at in _all(self.written, marker))
        found += [place for at in places if (place := self.plain_place(at)) >= start]
        return min(found, default=None)

    def end_of_last(self, markers: Markers) -> int:
        """Where in `plain` the last marker ends; 0 without one."""
        ends = [at + len(marker) for marker in markers.plain for at in _all(self.plain, marker)]
        places = (at + len(marker) for marker in markers.written for at in _all(self.written, marker))
        return max([*ends, *map(self.plain_place, places)], default=0)

    def may_complete(self, markers: Markers, before: int) -> bool:
        """Whether a marker that has begun before a place in `plain` and reaches the end may still be completed."""
        plain, written = self.plain, self.written
        open_plain = any(marker.startswith(plain[at:]) for marker in markers.plain for at in range(before))
        starts = [at for at in range(len(written)) if self.plain_place(at) < before] if markers.written else []
        return open_plain or any(marker.startswith(written[at:]) for marker in markers.written for at in starts)


@dataclass(frozen=True)
class TextRule:
    """How the tokens of one row's region become its text."""

    spans: tuple[Span, ...]
    mask_token_id: int
    end_token_ids: tuple[int, ...]
    decode: Decode
    """Tokens to text, special tokens left out."""
    until: Markers = Markers()
    """Stop strings, looked for only after the last fixed text."""
    write: Decode | None = None
    """Tokens to text, special tokens written out; None where there are none."""
    think_end: Markers = Markers()
    """Ends the thinking: all up to the last one is left out, and stop strings are looked for behind it."""

    def read(self, token_ids: Sequence[int]) -> ReturnedText:
        """The text of a region, its unfilled masks dropped."""
        head, tail = self._split_spans()
        before, behind = self._text(head, token_ids), self._text(tail, token_ids)
        whole = _Text(before.pieces + behind.pieces)
        tail_start, start = len(before.plain), whole.end_of_last(self.think_end)
        if start:
            start += len(whole.plain[start:]) - len(whole.plain[start:].lstrip())
        cut = behind.first(self.until, max(start - tail_start, 0))
        end = len(whole.plain) if cut is None else tail_start + cut
        kept = [self._kept(span, token_ids) for span in tail]
        num_tokens = sum(self._heard(self._kept(span, token_ids)) for span in head if span.is_decoded)
        num_leading = self._fewest(kept, behind.plain[: end - tail_start], cut is not None)
        sources = itertools.chain.from_iterable([span] * len(own) for span, own in zip(tail, kept, strict=True))
        leading = itertools.islice(zip(sources, itertools.chain(*kept), strict=True), num_leading)
        num_tokens += self._heard([token for span, token in leading if span.is_decoded])
        if start:
            num_tokens = max(num_tokens - self._num_before(start, token_ids), 0)
        return ReturnedText(whole.plain[start:end], num_tokens)

    def is_settled(self, token_ids: Sequence[int]) -> bool:
        """Whether no further commit can change the text.

        So it is once every segment is settled by itself: it holds no mask before its first end of text, or, in
        the part after the last fixed text, a stop string is complete with no mask before it. Where thinking is left
        out, a stop string settles nothing, since more thinking may end behind it.
        """
        head, tail = self._split_spans()
        if not all(span.kind == "text" or self._is_closed(span, token_ids) for span in head):
            return False
        pieces: tuple[tuple[str, str], ...] = ()
        for span in tail:
            pieces += tuple(self._pieces(self._committed_prefix(span, token_ids)))
            if not self._is_closed(span, token_ids):
                return not self.think_end and self._stop_is_final(_Text(pieces))
        return True

    def _split_spans(self) -> tuple[Sequence[Span], Sequence[Span]]:
        """Spans up to the last fixed text, and those after it."""
        after = max((i for i, span in enumerate(self.spans, start=1) if span.kind == "text"), default=0)
        return self.spans[:after], self.spans[after:]

    def _text(self, spans: Sequence[Span], token_ids: Sequence[int]) -> _Text:
        return _Text(
            tuple(
                piece
                for span in spans
                for piece in (
                    [(span.text, span.text)] if span.kind == "text" else self._pieces(self._kept(span, token_ids))
                )
            )
        )

    def _pieces(self, tokens: list[int]) -> Iterator[tuple[str, str]]:
        """The text of a segment, its special tokens apart if they matter."""
        if self.write is None or not (self.until.written or self.think_end.written):
            yield (self.decode(tokens), "")
            return
        special = [i for i, token in enumerate(tokens) if self._is_silent(token)]
        for start, end in zip([-1, *special], [*special, len(tokens)], strict=True):
            if start >= 0:
                yield ("", self.write([tokens[start]]))
            ordinary = self.decode(tokens[start + 1 : end])
            yield (ordinary, ordinary)

    def _is_silent(self, token: int) -> bool:
        """Whether a token is a special one, which leaves no text."""
        return self.write is not None and not self.decode([token]) and bool(self.write([token]))

    def _heard(self, tokens: Sequence[int]) -> int:
        """How many of them may show in the text."""
        return sum(not self._is_silent(token) for token in tokens)

    def _until_end(self, span: Span, token_ids: Sequence[int]) -> list[int]:
        """The segment's tokens before its first end of text, masks included."""
        tokens = list(token_ids[span.start : span.stop])
        ends = (i for i, token in enumerate(tokens) if token in self.end_token_ids)
        return tokens[: next(ends, len(tokens))]

    def _kept(self, span: Span, token_ids: Sequence[int]) -> list[int]:
        return [token for token in self._until_end(span, token_ids) if token != self.mask_token_id]

    def _is_closed(self, span: Span, token_ids: Sequence[int]) -> bool:
        return self.mask_token_id not in self._until_end(span, token_ids)

    def _committed_prefix(self, span: Span, token_ids: Sequence[int]) -> list[int]:
        tokens = self._until_end(span, token_ids)
        return tokens[: tokens.index(self.mask_token_id)] if self.mask_token_id in tokens else tokens

    def _joined(self, kept: Sequence[list[int]], num_tokens: int) -> str:
        """Text of the leading tokens of consecutive segments, each segment decoded by itself."""
        text = ""
        for tokens in kept:
            text += "".join(plain for plain, _ in self._pieces(tokens[: max(num_tokens, 0)]))
            num_tokens -= len(tokens)
        return text

    def _fewest(self, kept: Sequence[list[int]], returned: str, was_cut: bool) -> int:
        total = sum(map(len, kept))
        if not was_cut:
            return total
        # Once the leading tokens hold the whole text, more tokens do too, so the first such number is bisected.
        return bisect.bisect_left(range(total), True, key=lambda n: self._joined(kept, n).startswith(returned))

    def _num_before(self, place: int, token_ids: Sequence[int]) -> int:
        """Committed tokens whose text ends at or before a place of the whole text."""
        num_tokens = 0
        for span in self.spans:
            kept = [] if span.kind == "text" else self._kept(span, token_ids)
            width = len(span.text) if span.kind == "text" else len(self._joined([kept], len(kept)))
            ends = (len(self._joined([kept], n)) for n in range(1, len(kept) + 1))
            num_tokens += sum(
                end <= place and span.is_decoded and not self._is_silent(token)
                for end, token in zip(ends, kept, strict=True)
            )
            place -= width
            if place < 0:
                break
        return num_tokens

    def _stop_is_final(self, text: _Text) -> bool:
        """Whether the first stop string of an open text stays the first, whatever follows."""
        whole = _Text(tuple((plain.rstrip("\ufffd"), written.rstrip("\ufffd")) for plain, written in text.pieces[-1:]))
        text = _Text(text.pieces[:-1] + whole.pieces)  # without an unfinished character, which the next may complete
        cut = text.first(self.until)
        # A longer stop string that began before the cut and reaches the end may still be completed by later tokens.
        return cut is not None and not text.may_complete(self.until, cut)


def _first(text: str, markers: Sequence[str], start: int) -> int | None:
    """Where, from `start` on, the earliest marker begins; None without one."""
    return min((at for marker in markers if marker and (at := text.find(marker, start)) >= 0), default=None)


def _all(text: str, marker: str) -> Iterator[int]:
    """Every place where a marker begins, also where two overlap."""
    at = text.find(marker)
    while at >= 0:
        yield at
        at = text.find(marker, at + 1)
