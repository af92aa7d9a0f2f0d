"""The steps of one row as arrays, and as the plain values of its line."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


NUMBERS = ("entropy", "confidence", "log_prob")
"""Of every commit."""
KINDS = frozenset({"reasoning", "text", "answer", "given"})
"""Of segments."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Steps:
    """One row's way from masks to text in T passes ("steps"; under guidance each costs two).

    Numbers of all steps' commits stand one after the other: those of step t, counted from 0, are at `of_step(t)`.
    Distributions are those of docs/semantics.md section 2: full vocabulary but the mask token and suppressed tokens,
    guidance applied, before temperature.
    """

    key: str
    """Of the request: the same content, options and network give the same key. It is the journal's."""
    task: str | None
    """None where the row was asked for in Python."""
    doc_id: int | None
    repeat: int
    """Number among several samples of one request, from 0."""
    prompt_ids: NDArray[np.int64]
    """(P,) the request's prompt, of which the last `P - num_cut` tokens stood on the canvas."""
    num_cut: int
    region_ids: NDArray[np.int64]
    """(R,) the region before the first pass."""
    segments: tuple[tuple[str, int, int], ...]
    """Kind (reasoning, text, answer, given), start and stop of each stretch of the region."""
    mask_token_id: int
    end_token_ids: tuple[int, ...]
    """Tokens that end the text."""
    options: Mapping[str, Any]
    """Every decoding option that had an effect."""
    nfe: int
    nfe_partial: int
    stop: str
    """Why the row ended: complete, settled, exit or cap."""
    ends: NDArray[np.int64]
    """(T + 1,) where the commits of each step end; the first entry is 0."""
    positions: NDArray[np.int64]
    """(N,) in the region. One that was no mask is a replacement."""
    tokens: NDArray[np.int64]
    """(N,) that were committed."""
    entropy: NDArray[np.float32]
    """(N,) nats."""
    confidence: NDArray[np.float32]
    """(N,) largest probability."""
    log_prob: NDArray[np.float32]
    """(N,) of the committed token, nats."""
    answer_entropy: NDArray[np.float64]
    """(T,) sum of the entropies of the masked answer positions, nats; NaN without an answer to decode."""
    partial: NDArray[np.bool_]
    """(T,) whether the pass recomputed only part of the canvas."""
    remasked_ends: NDArray[np.int64]
    """(T + 1,) as `ends`, for `remasked`."""
    remasked: NDArray[np.int64]
    """Positions that became masks again, after the commits of their step."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """Of the tokens that stood or came to stand in the region, each on its own; empty where none were recorded."""

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.ends) - 1

    @property
    def exit_step(self) -> int | None:
        """Number of the pass that fired the exit, from 1; None if none did."""
        return self.num_steps if self.stop == "exit" else None

    def of_step(self, step: int) -> slice:
        """Where the commits of a step are, counted from 0."""
        return slice(int(self.ends[step]), int(self.ends[step + 1]))

    def remasked_in(self, step: int) -> NDArray[np.int64]:
        """Positions that a step, counted from 0, turned into masks again."""
        return self.remasked[self.remasked_ends[step] : self.remasked_ends[step + 1]]

    @functools.cached_property
    def answer_positions(self) -> NDArray[np.int64]:
        """Of the answers that were decoded, ascending."""
        own = [np.arange(start, stop) for kind, start, stop in self.segments if kind == "answer"]
        return np.concatenate(own) if own else np.empty(0, dtype=np.int64)

    @property
    def canvas_prompt(self) -> NDArray[np.int64]:
        """The prompt as it stood on the canvas."""
        return self.prompt_ids[self.num_cut :]

    def region_before(self, step: int) -> NDArray[np.int64]:
        """(R,) the region as a pass saw it, counted from 0; with `num_steps` as the row left it."""
        return next(itertools.islice(self.regions(), step, None))

    def regions(self) -> Iterator[NDArray[np.int64]]:
        """(R,) the region before each pass, and at last as the row left it."""
        region = self.region_ids.copy()
        for step in range(self.num_steps):
            yield region.copy()
            own = self.of_step(step)
            region[self.positions[own]] = self.tokens[own]
            region[self.remasked_in(step)] = self.mask_token_id
        yield region

    def to_plain(self) -> dict[str, Any]:
        """As plain values; `from_plain` is the inverse, to the bit."""
        plain: dict[str, Any] = {}
        for name in _names():
            value = getattr(self, name)
            if name in NUMBERS:
                plain[name] = exact(value)
            elif name == "answer_entropy":
                plain[name] = [None if np.isnan(one) else float(one) for one in value]
            elif isinstance(value, np.ndarray):
                plain[name] = value.astype(np.int64).tolist()
            else:
                plain[name] = value
        return {**plain, "texts": {str(token): text for token, text in self.texts.items()}}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Steps":
        """From a row's line; KeyError, TypeError, ValueError or ArithmeticError for one that is none."""
        own: dict[str, Any] = {name: plain[name] for name in _names()}
        own["texts"] = {int(token): text for token, text in dict(plain.get("texts", {})).items()}
        own["answer_entropy"] = [np.nan if one is None else one for one in own["answer_entropy"]]
        with np.errstate(over="raise"):
            for names, dtype in _DTYPES.items():
                own.update({name: np.array(own[name], dtype=dtype) for name in names})
        own["segments"] = tuple((kind, start, stop) for kind, start, stop in own["segments"])
        own["end_token_ids"] = tuple(own["end_token_ids"])
        made = cls(**own)
        made._check()
        return made

    def _check(self) -> None:
        self._check_kinds()
        lengths = {len(self.positions), len(self.tokens), *(len(getattr(self, name)) for name in NUMBERS)}
        steps = {len(self.answer_entropy), len(self.partial), self.num_steps, len(self.remasked_ends) - 1}
        if lengths != {int(self.ends[-1])} or len(steps) != 1 or self.remasked_ends[-1] != len(self.remasked):
            raise ValueError("arrays of one row must fit each other")
        length = len(self.region_ids)
        inside = all(start <= stop <= length for _, start, stop in self.segments)
        if not inside or any(((own < 0) | (own >= length)).any() for own in (self.positions, self.remasked)):
            raise ValueError("places must lie in the region")
        if any(ends[0] != 0 or (np.diff(ends) < 0).any() for ends in (self.ends, self.remasked_ends)):
            raise ValueError("ends of steps must ascend from 0")

    def _check_kinds(self) -> None:
        """TypeError or ValueError for plain values that are not what the fields say."""
        texts = [self.key, self.stop, *([] if self.task is None else [self.task]), *self.texts.values()]
        whole = [self.repeat, self.num_cut, self.nfe, self.nfe_partial, self.mask_token_id, *self.end_token_ids]
        whole += [] if self.doc_id is None else [self.doc_id]
        whole += [place for _, *ends in self.segments for place in ends]
        sound = all(type(one) is int and 0 <= one < 2**63 for one in whole)
        if not sound or not all(isinstance(one, str) for one in texts):
            raise TypeError("an entry is no text or no number where it must be one")
        if not isinstance(self.options, Mapping) or "sampler" not in self.options:
            raise TypeError("options must name a sampler")
        if not {kind for kind, _, _ in self.segments} <= KINDS:
            raise ValueError(f"segments must be of the kinds {', '.join(sorted(KINDS))}")
        if any(getattr(self, name).ndim != 1 for names in _DTYPES for name in names) or not len(self.ends):
            raise ValueError("arrays must have one dimension, and ends an entry")


_DTYPES: Mapping[tuple[str, ...], Any] = {
    ("prompt_ids", "region_ids", "ends", "positions", "tokens", "remasked_ends", "remasked"): np.int64,
    NUMBERS: np.float32,
    ("answer_entropy",): np.float64,
    ("partial",): np.bool_,
}


def _names() -> list[str]:
    """Entries that every row's line has: texts came later, and their tokens are keys."""
    return [one.name for one in dataclasses.fields(Steps) if one.name != "texts"]


def exact(values: Sequence[Any] | NDArray[np.float32]) -> list[float]:
    """Float32 numbers in as few digits as give them back."""
    return [float(format(value, ".9g")) for value in values]
