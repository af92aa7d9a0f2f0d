"""Reasoning as infilling: a region of fixed text and masks whose roles are known before decoding.

Fixed text is tokenised piece by piece, so every masked segment starts and ends on a token boundary.
Source: Horvitz et al. 2025, arXiv:2510.19990.
"""

import difflib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import UsageError


EXAMPLE = '[{"reasoning": 246}, {"text": "\\nThe answer is "}, {"answer": 10}]'
Kind = Literal["reasoning", "text", "answer"]
KINDS: tuple[Kind, ...] = ("reasoning", "text", "answer")


class FilledText(str):
    """Fixed text that was filled in from a document, so that braces in it mean nothing any more."""


def holds_jinja(text: Any) -> bool:
    """Whether fixed text as written depends on the document."""
    return isinstance(text, str) and not isinstance(text, FilledText) and ("{{" in text or "{%" in text)


@dataclass(frozen=True)
class Span:
    """A stretch of the region with one role, `start` inclusive and `stop` exclusive."""

    kind: Kind
    start: int
    stop: int
    text: str = ""
    """The fixed text, of a text span only."""
    given: bool = False
    """Whether this is an answer that stands there from the start."""

    @property
    def is_decoded(self) -> bool:
        """Whether its tokens are committed by decoding."""
        return self.kind != "text" and not self.given


@dataclass(frozen=True)
class Region:
    """The generation region of one row before decoding."""

    token_ids: tuple[int, ...]
    """Masks, the tokens of fixed text, and those of a given answer."""
    spans: tuple[Span, ...]
    """Cover the region without gaps; without a template a single reasoning span."""

    @functools.cached_property
    def answer_positions(self) -> tuple[int, ...]:
        """Positions of the answers that are to be decoded, ascending."""
        answers = (span for span in self.spans if span.kind == "answer" and not span.given)
        return tuple(i for span in answers for i in range(span.start, span.stop))


@dataclass(frozen=True)
class Segment:
    """One piece of a template: `length` masks, or fixed `text`."""

    kind: Kind
    length: int = 0
    text: str = ""

    @classmethod
    def parse(cls, raw: Any, place: str) -> "Segment":
        """From a mapping with one key; UsageError otherwise."""
        if not isinstance(raw, Mapping) or len(raw) != 1:
            raise UsageError(f"{place} must have exactly one of the keys {', '.join(KINDS)}, got {raw!r}.")
        ((kind, value),) = raw.items()
        if kind not in KINDS:
            close = difflib.get_close_matches(str(kind), KINDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise UsageError(f"{place} has the unknown kind {kind!r}, known are {', '.join(KINDS)}{hint}")
        if kind == "text":
            if not isinstance(value, str) or not value:
                raise UsageError(
                    f"{place}: text must be a string that is not empty, got {value!r}; leave the segment out."
                )
            if holds_jinja(value) and "{{" in value:
                raise UsageError(
                    f"{place}: text {value!r} holds '{{{{', which stands for a field of the document only in a task's "
                    f"YAML; write the template into the task, or the text without it."
                )
            return cls(kind, text=value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{place}: {kind} must be a number of masks, at least 1, got {value!r}.")
        return cls(kind, length=value)


@dataclass(frozen=True)
class Template:
    """An ordered list of segments that fills the region."""

    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, raw: Any) -> "Template":
        """From a list of one-key mappings, or its JSON text.

        Raises:
            UsageError: If it is neither, has an unknown segment, or holds no masks.
        """
        if isinstance(raw, str):
            try:
                raw = json.loads(raw)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"template must be JSON such as {EXAMPLE}, got {raw!r:.200} ({error}).") from None
        if not isinstance(raw, Sequence) or isinstance(raw, str):
            raise UsageError(f"template must be a list such as {EXAMPLE}, got {raw!r}.")
        template = cls(tuple(Segment.parse(piece, f"template segment {i}") for i, piece in enumerate(raw, start=1)))
        if not template.gen_length:
            raise UsageError(f"template must hold masks (reasoning or answer), got {raw!r}; for example {EXAMPLE}.")
        return template

    @property
    def gen_length(self) -> int:
        """Masks in the template; fixed text does not count."""
        return sum(segment.length for segment in self.segments)

    @property
    def has_answer(self) -> bool:
        """Whether any segment is an answer."""
        return any(segment.kind == "answer" for segment in self.segments)

    def resized(self, gen_length: int) -> "Template":
        """The same template with its one reasoning segment changed so that the masks add up to `gen_length`.

        Raises:
            UsageError: If there is no reasoning segment or more than one, or no room is left for it.
        """
        if gen_length == self.gen_length:
            return self
        reasoning = [segment for segment in self.segments if segment.kind == "reasoning"]
        if len(reasoning) != 1:
            raise UsageError(
                f"gen_length={gen_length} beside a template of {self.gen_length} masks needs exactly one reasoning "
                f"segment to resize, the template has {len(reasoning)}; change the template's own numbers."
            )
        length = gen_length - (self.gen_length - reasoning[0].length)
        if length < 1:
            raise UsageError(
                f"gen_length={gen_length} leaves {length} masks for the template's reasoning segment; it must be at "
                f"least {gen_length - length + 1}."
            )
        return Template(tuple(replace(s, length=length) if s.kind == "reasoning" else s for s in self.segments))

    def padded_answer(self, token_ids: Sequence[int], end_token_id: int | None) -> list[int]:
        """A given answer as it fills the template's one answer segment: its tokens, then end-of-text tokens.

        Args:
            token_ids: Of the answer, any number that fits.
            end_token_id: Fills what is left of the segment; None where the checkpoint has none.

        Raises:
            UsageError: If there is no answer segment or more than one, if the answer is longer than the segment, or if
                it is shorter and there is no end-of-text token.
        """
        lengths = [segment.length for segment in self.segments if segment.kind == "answer"]
        if len(lengths) != 1:
            raise UsageError(
                f"a given answer needs a template with exactly one answer segment, and this one has {len(lengths)}; "
                f"change the template, or leave the answer out."
            )
        (length,), needed = lengths, len(token_ids)
        if needed > length:
            raise UsageError(
                f"the given answer of {needed} tokens does not fit the template's answer segment of {length}, and is "
                f"never cut; make the segment {needed} or longer, or leave the row out."
            )
        if needed == length:
            return list(token_ids)
        if end_token_id is None:
            raise UsageError(
                f"the given answer of {needed} tokens leaves {length - needed} of its segment's {length} to "
                f"end-of-text tokens, and the checkpoint has none; give an answer or a segment of equal length."
            )
        return [*token_ids, *[end_token_id] * (length - needed)]

    def lay_out(
        self, encode: Callable[[str], Sequence[int]], mask_token_id: int, answer: Sequence[int] | None = None
    ) -> Region:
        """Token ids and spans of the region.

        Args:
            encode: Tokenises fixed text, without special tokens; never to the mask.
            mask_token_id: Fills the reasoning and answer segments.
            answer: From `padded_answer`, instead of the answer segment's masks; holds no mask.
        """
        token_ids: list[int] = []
        spans = []
        for segment in self.segments:
            given = answer if segment.kind == "answer" else None
            if given is not None:
                piece = list(given)
            else:
                piece = list(encode(segment.text)) if segment.kind == "text" else [mask_token_id] * segment.length
            stop = len(token_ids) + len(piece)
            spans.append(Span(segment.kind, len(token_ids), stop, segment.text, given=given is not None))
            token_ids += piece
        return Region(tuple(token_ids), tuple(spans))


def free_region(gen_length: int, mask_token_id: int) -> Region:
    """A region of masks only, as without a template."""
    return Region((mask_token_id,) * gen_length, (Span("reasoning", 0, gen_length),))
