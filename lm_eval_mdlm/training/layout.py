"""From an example to a canvas: which tokens stand where, and which of them may be masked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..canvas.template import Kind, Template
from ..errors import UsageError
from .examples import Example


TokenIds = NDArray[np.int64]
Encode = Callable[[str], Sequence[int]]
"""Tokenises a text without special tokens."""


class CleanCanvas(NamedTuple):
    """A canvas before masking."""

    token_ids: TokenIds
    """(L,)"""
    maskable: NDArray[np.bool_]
    """(L,); true in the response, except for a template's fixed text."""
    prompt_length: int
    """Tokens before the response, in which blocks begin."""


@dataclass(frozen=True, kw_only=True)
class TokenizedExample:
    """An example as token ids; `answer` is None where the response is one piece."""

    prompt: TokenIds
    solution: TokenIds
    answer: TokenIds | None


@dataclass(frozen=True, kw_only=True)
class LayoutSegment:
    """A template segment as training sees it."""

    kind: Kind
    length: int
    """Masks of a reasoning or answer segment at decoding time; 0 for text."""
    token_ids: TokenIds
    """Of fixed text; empty otherwise."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How responses are laid out.

    *Template*: as at decoding time, the reasoning segment filled up with end-of-text tokens to a random length, the
    answer segment to its full one, fixed text never masked. *Free*: the same pieces without filling, all maskable,
    then end-of-text tokens. A response without a separate answer is always free, and has no fixed text.
    """

    segments: tuple[LayoutSegment, ...]
    end_token_id: int
    free_share: float
    """Probability of the free layout for an example with an answer, in [0, 1]."""
    end_padding: int
    """A free response is followed by 1 to `end_padding` end-of-text tokens."""

    def draw(self, example: TokenizedExample, rng: np.random.Generator) -> CleanCanvas:
        """The canvas of one example, its layout and lengths drawn from `rng`."""
        if example.answer is None:
            return self._canvas(example.prompt, [(example.solution, True), self._ends(rng)])
        if rng.random() < self.free_share:
            pieces = [(self._content(segment, example), True) for segment in self.segments]
            return self._canvas(example.prompt, [*pieces, self._ends(rng)])
        filled = [(self._filled(segment, example, rng), segment.kind != "text") for segment in self.segments]
        return self._canvas(example.prompt, filled)

    def longest(self, example: TokenizedExample) -> int:
        """Upper bound on the tokens of any canvas of this example."""
        if example.answer is None:
            return len(example.prompt) + len(example.solution) + self.end_padding
        contents = [len(self._content(segment, example)) for segment in self.segments]
        filled = sum(max(length, s.length) for length, s in zip(contents, self.segments, strict=True))
        return len(example.prompt) + max(filled, sum(contents) + self.end_padding)

    def _content(self, segment: LayoutSegment, example: TokenizedExample) -> TokenIds:
        if segment.kind == "text" or example.answer is None:
            return segment.token_ids
        return example.solution if segment.kind == "reasoning" else example.answer

    def _filled(self, segment: LayoutSegment, example: TokenizedExample, rng: np.random.Generator) -> TokenIds:
        content = self._content(segment, example)
        longest = max(segment.length, len(content))
        # Random lengths of reasoning, so that templates of any length work; the answer segment is always full.
        length = int(rng.integers(len(content), longest + 1)) if segment.kind == "reasoning" else longest
        return np.concatenate([content, np.full(length - len(content), self.end_token_id)])

    def _ends(self, rng: np.random.Generator) -> tuple[TokenIds, bool]:
        return np.full(rng.integers(1, self.end_padding + 1), self.end_token_id), True

    @staticmethod
    def _canvas(prompt: TokenIds, pieces: Sequence[tuple[TokenIds, bool]]) -> CleanCanvas:
        token_ids = np.concatenate([prompt, *(ids for ids, _ in pieces)])
        flags = [np.full(len(ids), maskable) for ids, maskable in pieces]
        maskable = np.concatenate([np.zeros(len(prompt), dtype=bool), *flags])
        return CleanCanvas(token_ids, maskable, len(prompt))


def layout_of(template: Template, encode: Encode, *, end_token_id: int, free_share: float, end_padding: int) -> Layout:
    """The layout of a decoding template.

    Raises:
        UsageError: unless the template has one reasoning segment and one answer segment.
    """
    kinds = [segment.kind for segment in template.segments]
    if kinds.count("reasoning") != 1 or kinds.count("answer") != 1:
        raise UsageError(f"--template must have one reasoning and one answer segment for training, got {kinds}.")
    segments = [
        LayoutSegment(
            kind=s.kind, length=s.length, token_ids=np.array(encode(s.text) if s.text else [], dtype=np.int64)
        )
        for s in template.segments
    ]
    return Layout(segments=tuple(segments), end_token_id=end_token_id, free_share=free_share, end_padding=end_padding)


@dataclass(frozen=True, kw_only=True)
class Unfit:
    """An example that cannot be trained on, and why."""

    line: int
    reason: str
    """Which limit it breaks; the same for all examples that break it."""
    detail: str
    """The whole sentence, with the example's own numbers and the next step."""


def tokenize(
    examples: Sequence[Example],
    encode_all: Callable[[list[str]], list[list[int]]],
    *,
    layout: Layout,
    max_length: int,
) -> tuple[list[TokenizedExample], list[Unfit]]:
    """Token ids of the examples that fit, and the others: too long an answer, or a canvas beyond the context.

    `encode_all` maps texts to ids without special tokens; `max_length` is the model's context in tokens.
    """
    texts = ([e.prompt for e in examples], [e.solution for e in examples], [e.answer or "" for e in examples])
    fit: list[TokenizedExample] = []
    unfit: list[Unfit] = []
    for example, *ids in zip(examples, *map(encode_all, texts), strict=True):
        prompt, solution, answer = (np.array(piece, dtype=np.int64) for piece in ids)
        pieces = TokenizedExample(prompt=prompt, solution=solution, answer=None if example.answer is None else answer)
        misfit = _misfit(example, pieces, layout, max_length)
        if misfit is None:
            fit.append(pieces)
        else:
            unfit.append(misfit)
    return fit, unfit


def _misfit(example: Example, pieces: TokenizedExample, layout: Layout, max_length: int) -> Unfit | None:
    answer_length = next(segment.length for segment in layout.segments if segment.kind == "answer")
    if pieces.answer is not None and len(pieces.answer) > answer_length:
        detail = (
            f"line {example.line}: the answer {example.answer!r} has {len(pieces.answer)} tokens, more than the "
            f"{answer_length} of the template's answer segment; give a --template with a longer one"
        )
        return Unfit(
            line=example.line, reason=f"answer longer than the template's {answer_length} tokens", detail=detail
        )
    if (longest := layout.longest(pieces)) > max_length:
        detail = (
            f"line {example.line}: up to {longest} tokens do not fit the model's context of {max_length}; shorten the "
            "example, the --template's reasoning segment or --end-padding"
        )
        return Unfit(line=example.line, reason=f"longer than the model's context of {max_length} tokens", detail=detail)
    return None
