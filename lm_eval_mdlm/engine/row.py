"""One request: what it asks for, and how far its region has been filled."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..canvas.template import Region
from ..canvas.text import TextRule
from ..decoding.blocks import split_into_blocks
from ..decoding.logits import LogitRule
from ..decoding.policies import UnmaskPolicy
from ..decoding.proposal import RowKey
from ..decoding.restriction import Draw, Restriction
from .cache import CachePolicy
from .job import Job, Kind
from .query import Query
from .record import Generation


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """Everything that determines a row's result, and nothing about its batch."""

    prompt_ids: tuple[int, ...]
    region: Region
    policy: UnmaskPolicy
    block_length: int
    logit_rule: LogitRule
    key: RowKey
    mask_token_id: int
    temperature: float = 0.0
    restriction: Restriction | None = None
    """Which tokens a sample may be; None for all."""
    gold: tuple[int, ...] = ()
    """Tokens whose log-probabilities are read at the first positions of the region's one answer; empty for none."""
    exit_threshold: float | None = None
    """Answer entropy, in nats, below which the row ends; None for no early exit."""
    stop_when_settled: bool = False
    text_rule: TextRule
    returns_text: bool = True
    """False where there is no tokenizer, and `text_rule` only counts tokens."""
    truncated: bool = False
    cache: CachePolicy | None = None
    """Recompute only part of the canvas in most passes; None for exact decoding."""
    lookback: int = 0
    """The backbone's: how far before a token the state lies from which it is predicted."""

    @property
    def canvas_length(self) -> int:
        """Tokens of prompt and region."""
        return len(self.prompt_ids) + len(self.region.token_ids)

    @property
    def tokens_per_pass(self) -> int:
        """Tokens that a pass over the whole canvas processes; guidance doubles them."""
        return self.canvas_length * self.nfe_per_step

    @property
    def held_positions(self) -> int:
        """Positions whose keys and values the row keeps between its passes; 0 without a cache."""
        return 0 if self.cache is None else self.tokens_per_pass

    @property
    def nfe_per_step(self) -> int:
        """What a step costs."""
        return 2 if self.logit_rule.guided else 1


@dataclass(frozen=True, eq=False)
class Change:
    """What a pass does to a row."""

    positions: NDArray[np.int64]
    """In the region, that are committed."""
    tokens: NDArray[np.int64]
    """That they take."""
    answer_entropy: float | None
    """Of the pass; None without an answer to decode."""
    exited: bool
    """Whether that ends the row."""
    log_probs: NDArray[np.float32] | None = None
    """Of the wanted positions' targets, nats; None where none were asked for."""


class Row(Job):
    """The state of a live row, on the host; only `advance` changes what it will become."""

    def __init__(self, plan: RowPlan, kind: Kind) -> None:
        ids = np.array(plan.region.token_ids)
        self.plan, self.kind = plan, kind
        self.canvas = np.array([*plan.prompt_ids, *plan.region.token_ids], dtype=np.int64)
        """(L,) prompt and region."""
        self.steps, self.block_step, self.partial_steps = 0, 0, 0
        self.slots: list[Any] = []
        self.answer_entropy: float | None = None
        self.exit_step: int | None = None
        self.settled = False
        self._offset = len(plan.prompt_ids)
        self._masked = ids == plan.mask_token_id
        blocks = split_into_blocks(np.flatnonzero(self._masked).tolist(), plan.block_length)
        self._blocks = [np.array(block) for block in blocks]
        self._is_answer = np.zeros(len(ids), dtype=bool)
        self._is_answer[list(plan.region.answer_positions)] = True
        self._committed_in = np.zeros(len(ids), dtype=np.int64)
        self._gold_at = np.array(plan.region.answer_positions[: len(plan.gold)], dtype=np.int64)
        self._targets = np.zeros(len(ids), dtype=np.int64)  # at positions that are not watched any token will do
        self._targets[self._gold_at] = plan.gold
        self._log_probs = np.full(len(ids), np.nan, dtype=np.float32)
        self._block = 0
        self._known_recomputed: NDArray[np.int64] | None = None
        self._settle()  # a given answer may hold a stop string with nothing to be decoded before it
        self._look()

    @property
    def num_blocks(self) -> int:
        """Blocks that held masks at the start."""
        return len(self._blocks)

    @property
    def block_masks(self) -> int:
        """Masks that the current block held when it opened."""
        return len(self._blocks[self._block])

    @property
    def done(self) -> bool:
        """Whether the row needs no further pass."""
        return self._block == len(self._blocks) or self.exit_step is not None or self.settled

    @property
    def region_ids(self) -> list[int]:
        """The region's tokens as they stand."""
        ids: list[int] = self.canvas[self._offset :].tolist()
        return ids

    @property
    def canvases(self) -> list[NDArray[np.int64]]:
        """What a pass is run on: the canvas and, under guidance, the one with its prompt masked."""
        if not self.plan.logit_rule.guided:
            return [self.canvas]
        unconditional = self.canvas.copy()
        unconditional[: self._offset] = self.plan.mask_token_id
        return [self.canvas, unconditional]

    @property
    def is_partial(self) -> bool:
        """Whether the next pass recomputes only part of the canvas."""
        return self.plan.cache is not None and self.block_step > 0

    @property
    def tokens_of_next_pass(self) -> int:
        """See `Job`; guidance doubles them."""
        if not self.is_partial:
            return self.plan.tokens_per_pass
        return len(self._recomputed()) * self.plan.nfe_per_step

    @property
    def held_positions(self) -> int:
        """See `Job`."""
        return self.plan.held_positions

    def query(self) -> Query:
        """See `Job`."""
        return Query(
            canvases=self.canvases,
            wanted=self._offset + self.wanted,
            rule=self.plan.logit_rule,
            targets=self._targets[self.wanted] if self.plan.gold else None,
            recomputed=None if self.plan.cache is None else self._recomputed(),
        )

    def _recomputed(self) -> NDArray[np.int64]:
        """Positions of the canvas that the next pass computes under a cache, ascending."""
        if self._known_recomputed is None:  # asked for several times a step
            self._known_recomputed = self._find_recomputed()
        return self._known_recomputed

    def _find_recomputed(self) -> NDArray[np.int64]:
        if self.plan.cache is None or not self.is_partial:
            return np.arange(len(self.canvas))
        start = int(self._blocks[self._block][0]) // self.plan.block_length * self.plan.block_length
        inside = np.zeros(len(self.canvas), dtype=bool)
        inside[self._offset :] = self.plan.cache.recomputed(self.plan.region, start, start + self.plan.block_length)
        wanted = self._offset + self.wanted
        inside[wanted] = inside[np.maximum(wanted - self.plan.lookback, 0)] = True
        return np.flatnonzero(inside)

    def entropy_of_answer(self, entropies: NDArray[np.float32]) -> float | None:
        """Sum over the masked answer positions, nats; None without an answer to decode.

        Args:
            entropies: Of the `wanted` positions, nats.
        """
        if not self.plan.region.answer_positions:
            return None
        return math.fsum(entropies[self.wanted_answer].tolist())

    def exits(self, answer_entropy: float | None) -> bool:
        """Whether an answer of this entropy ends the row.

        The sum of marginal entropies bounds the joint entropy from above, so the row never ends on an answer less
        certain than asked; a lower threshold ends later.
        """
        threshold = self.plan.exit_threshold
        return threshold is not None and answer_entropy is not None and answer_entropy < threshold

    def draw(self, position: int) -> Draw:
        """How the token at a position of the region is drawn in this step."""
        seed = self.plan.key.seed("token", self.steps, position)
        return Draw(temperature=self.plan.temperature, seed=seed, restriction=self.plan.restriction)

    def advance(self, change: Change) -> None:
        """Write the tokens, which never change again, count the pass, and open the next block if this one is full."""
        if change.log_probs is not None:
            self._log_probs[self.wanted] = change.log_probs
        self.canvas[self._offset + change.positions] = change.tokens
        self._committed_in[change.positions] = self.steps + 1
        self._masked[change.positions] = False
        self.answer_entropy = change.answer_entropy
        self.partial_steps += self.is_partial
        self.steps += 1
        self.block_step += 1
        if change.exited:
            self.exit_step = self.steps
        if not self._masked[self._blocks[self._block]].any():
            self._block, self.block_step = self._block + 1, 0
        self._settle()
        if self.done:
            self.slots = []  # for other rows, also while this one is still held
        self._look()

    def _settle(self) -> None:
        if self.plan.stop_when_settled and not self.done:
            self.settled = self.plan.text_rule.is_settled(self.region_ids)

    def _look(self) -> None:
        """Work out what the next step needs to see."""
        self._known_recomputed = None
        wanted = self._masked & self._is_answer
        if self._block < len(self._blocks):
            current = self._blocks[self._block]
            wanted[current] |= self._masked[current]
        self.wanted = np.flatnonzero(wanted)
        """Positions whose distributions the next step needs, ascending: the eligible ones and the answer."""
        self.wanted_answer = self._is_answer[self.wanted]
        """Which of them are answer positions."""
        eligible = np.zeros(len(wanted), dtype=bool)
        if self._block < len(self._blocks):
            eligible[self._blocks[self._block]] = True
        self.wanted_eligible = eligible[self.wanted]
        """Which of them are in the current block."""

    @property
    def gold_log_prob(self) -> float | None:
        """Of the gold tokens, each in the last pass in which its position was a mask, nats; None if none was read."""
        own = self._log_probs[self._gold_at]
        return None if not len(own) or np.isnan(own).any() else math.fsum(own.tolist())

    def generation(self, record_steps: bool) -> Generation:
        """The record of a finished row."""
        returned = self.plan.text_rule.read(self.region_ids)
        return Generation(
            token_ids=self.region_ids,
            text=returned.text if self.plan.returns_text else None,
            nfe=self.steps * self.plan.nfe_per_step,
            nfe_partial=self.partial_steps * self.plan.nfe_per_step,
            tokens=returned.num_tokens,
            early_exit=self.exit_step is not None,
            exit_step=self.exit_step,
            answer_entropy=self.answer_entropy,
            gold_logprob=self.gold_log_prob,
            truncated=self.plan.truncated,
            commit_steps=[step or None for step in self._committed_in.tolist()] if record_steps else None,
        )
