"""One request: what it asks for, and how far its region has been filled."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..decoding.exits import AnswerView
from ..decoding.restriction import Draw
from .cache import Place
from .change import Change
from .gold_watch import GoldWatch
from .job import Job, Kind
from .kept import Kept
from .plan import RowPlan
from .query import Query, Reading
from .record import Generation
from .standing import Standing


class Row(Job):
    """The state of a live row, on the host; only `advance` changes what it will become."""

    def __init__(self, plan: RowPlan, kind: Kind) -> None:
        ids = np.array(plan.region.token_ids)
        self.plan, self.kind = plan, kind
        self.canvas = np.array([*plan.prompt_ids, *plan.region.token_ids], dtype=np.int64)
        """(L,) prompt and region."""
        self.steps, self.partial_steps = 0, 0
        self.slots: list[Any] = []
        self.answer_entropy: float | None = None
        self.exit_step: int | None = None
        self.settled = False
        self.standing = Standing(ids == plan.mask_token_id, plan.blocks)
        self._offset = len(plan.prompt_ids)
        self.memory: Any = plan.policy.begin()
        self._exit_memory: Any = None
        self._is_answer = np.zeros(len(ids), dtype=bool)
        self._is_answer[list(plan.region.answer_positions)] = True
        self._none = np.zeros_like(self._is_answer)
        self._committed_in = np.zeros(len(ids), dtype=np.int64)
        self._gold = GoldWatch(plan.region.answer_positions, plan.gold, len(ids))
        self._final_until = 0
        self._known_computed: NDArray[np.int64] | None = None
        self._before: Kept | None = None  # of the last pass over the same block
        self._settle()  # a given answer may hold a stop string with nothing to be decoded before it
        self._look()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be filled."""
        return self.standing.complete

    @property
    def capped(self) -> bool:
        """Whether one more pass would be too many."""
        return self._reaches_cap(self.steps)

    @property
    def next_is_last(self) -> bool:
        """Whether the next pass is the last one that may be run."""
        return self._reaches_cap(self.steps + 1)

    def _reaches_cap(self, steps: int) -> bool:
        most, cost = self.plan.max_nfe, self.plan.nfe_per_step
        return most is not None and (steps + 1) * cost > most

    @property
    def stop(self) -> str:
        """Why the finished row took no further pass."""
        if self.exit_step is not None:
            return "exit"
        return "complete" if self.complete else "settled" if self.settled else "cap"

    @property
    def done(self) -> bool:
        """Whether the row needs no further pass."""
        return self.complete or self.exit_step is not None or self.settled or self.capped

    @property
    def region_ids(self) -> list[int]:
        """The region's tokens as they stand."""
        ids: list[int] = self.canvas[self._offset :].tolist()
        return ids

    @property
    def watches_answer(self) -> bool:
        """Whether every pass has to hold the answer."""
        return self.plan.exit_rule is not None

    @property
    def canvases(self) -> list[NDArray[np.int64]]:
        """What a pass is run on: the canvas and, under guidance, the one with its prompt masked."""
        if not self.plan.logit_rule.guided:
            return [self.canvas]
        unconditional = self.canvas.copy()
        unconditional[: self._offset] = self.plan.mask_token_id
        return [self.canvas, unconditional]

    @property
    def is_approximate(self) -> bool:
        """Whether the next pass takes keys and values for others than they would be in a pass over all that it sees."""
        return self.is_partial and self.plan.cache is not None and not self.plan.cache.is_exact

    @property
    def is_partial(self) -> bool:
        """See `Job`."""
        return self.plan.cache is not None and not self.complete and self.plan.cache.reuses(self._place())

    @property
    def tokens_of_next_pass(self) -> int:
        """See `Job`; guidance doubles them."""
        return len(self._computed()) * self.plan.nfe_per_step

    @property
    def held_positions(self) -> int:
        """See `Job`."""
        return self.plan.held_positions

    def query(self) -> Query:
        """See `Job`."""
        cache, canvases = self.plan.cache, self.canvases
        return Query(
            canvases=canvases if cache else [canvas[: self._offset + self._reach] for canvas in canvases],
            wanted=self._offset + self.wanted,
            rule=self.plan.logit_rule,
            targets=self._wanted_targets() if self.plan.gold or self.plan.policy.revises else None,
            recomputed=self._computed() if cache else None,
            looked_at=self.plan.policy.looks or self.plan.policy.compares,
            compared=None if self._before is None else self._before.beside(self.wanted, self.wanted_eligible),
        )

    def _wanted_targets(self) -> NDArray[np.int64]:
        """Gold tokens at masks, and at revisable positions the tokens that stand there."""
        return np.where(self.wanted_revisable, self.wanted_standing, self._gold.tokens[self.wanted])

    @property
    def wanted_standing(self) -> NDArray[np.int64]:
        """Tokens on the canvas at wanted positions."""
        return self.canvas[self._offset + self.wanted]

    def _computed(self) -> NDArray[np.int64]:
        """Positions of the canvas that the next pass computes, ascending."""
        if self._known_computed is None:  # asked for several times a step
            cache, whole = self.plan.cache, not self.is_partial
            self._known_computed = (
                np.arange(self._offset + self._reach) if cache is None or whole else cache.computed(self._place())
            )
        return self._known_computed

    def _place(self) -> Place:
        return Place(
            region=self.plan.region,
            offset=self._offset,
            span=self.standing.span,
            step=self.standing.step,
            final_until=self._final_until,
            stop=self._offset + self._reach,
            wanted=self._offset + self.wanted,
            lookback=self.plan.lookback,
        )

    def entropy_of_answer(self, entropies: NDArray[np.float32]) -> float | None:
        """Sum over the masked answer positions, nats; None without an answer to decode, or if not all were in the pass.

        Args:
            entropies: Of the `wanted` positions, nats.
        """
        if not self.plan.region.answer_positions or (self.standing.masked & self._is_answer)[self._reach :].any():
            return None
        return math.fsum(entropies[self.wanted_answer].tolist())

    def exits(self, reading: Reading) -> tuple[bool, Any]:
        """Whether this reading of the `wanted` positions ends the row, and what the exit rule remembers if not."""
        if self.plan.exit_rule is None or not self.plan.region.answer_positions:
            return False, None
        return self.plan.exit_rule.judge(self.answer_view(reading, self._exit_memory))

    def answer_view(self, reading: Reading, memory: Any) -> AnswerView:
        """What an exit rule sees of this reading of the `wanted` positions."""
        own = self.wanted_answer
        return AnswerView(
            positions=self.wanted[own],
            entropy=reading.entropy[own],
            confidence=reading.confidence[own],
            logit_gap=reading.logit_gap[own],
            argmax=reading.argmax[own],
            share_committed=self.standing.share_committed,
            memory=memory,
        )

    def draw(self, position: int) -> Draw:
        """How the token at a position of the region is drawn in this step."""
        return Draw(temperature=self.plan.temperature, seed=self.draw_seed(position), restriction=self.plan.restriction)

    def draw_seed(self, position: int) -> int:
        """Of what is drawn at a position of the region in this step."""
        return self.plan.key.seed("token", self.steps, position)

    def advance(self, change: Change) -> None:
        """Write the tokens, count the pass, and open the next block if this one is finished."""
        if change.log_probs is not None:
            masks = ~self.wanted_revisable
            self._gold.note(self.wanted[masks], change.log_probs[masks])
        self.answer_entropy = change.answer_entropy
        self.partial_steps += self.is_approximate
        self._final_until = self.plan.final_before(int(self.standing.block[0])) or 0
        self._write(change)
        self.steps += 1
        self.standing.step += 1
        if change.exited:
            self.exit_step = self.steps
        opens, memory = False, self.memory
        while not self.complete and self.plan.policy.completes(self.standing.num_left, memory):
            self.standing.open_next()
            # The cap may fill answers in blocks far behind, of which the policy remembers nothing.
            opens, memory = True, self.plan.policy.begin()
        # Tokens that may still change settle nothing.
        if opens or self.plan.policy.is_final(self.memory):
            self._settle()
        self._before = None if opens or self.done else change.kept
        if self.done:
            self.slots = []  # for other rows, also while this one is still held
        self._look()

    def _write(self, change: Change) -> None:
        self.canvas[self._offset + change.positions] = change.tokens
        self._committed_in[change.positions] = self.steps + 1
        self.standing.masked[change.positions] = False
        if len(change.remasked):
            self.canvas[self._offset + change.remasked] = self.plan.mask_token_id
            self._committed_in[change.remasked] = 0
            self.standing.masked[change.remasked] = True
        self.memory, self._exit_memory = change.memory, change.exit_memory

    def _settle(self) -> None:
        if self.plan.stop_when_settled and not self.done:
            self.settled = self.plan.text_rule.is_settled(self.region_ids)

    def _look(self) -> None:
        """Work out what the next step needs to see."""
        self._known_computed = None
        eligible, revisable = self._find_scope()
        answer = self.standing.masked & self._is_answer
        self._reach = self._find_reach(answer)
        answer[self._reach :] = False
        self.wanted = np.flatnonzero(eligible | answer | revisable)
        """Positions whose distributions the next step needs, ascending: eligible and revisable ones, and the answer."""
        self.wanted_answer = answer[self.wanted]
        """Which of them are masked answer positions."""
        self.wanted_eligible = eligible[self.wanted]
        """Which of them are masks that the policy may commit."""
        self.wanted_revisable = revisable[self.wanted]
        """Which of them are committed tokens that the policy may replace or take back."""

    def _find_reach(self, answer: NDArray[np.bool_]) -> int:
        """How many positions of the region the next pass holds, given where the masked answer positions are."""
        if self.complete:
            return len(answer)
        last, blocks = self.standing.block_number, self.plan.blocks
        if answer.any() and (self.watches_answer or self.next_is_last):
            last = max(last, blocks.number(int(answer.nonzero()[0][-1])))
        return blocks.reach(last, len(answer))

    def _find_scope(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of the region, where the policy may commit, and what it may replace or take back."""
        policy, standing = self.plan.policy, self.standing
        eligible, revisable = self._none.copy(), self._none
        if self.complete:
            return eligible, revisable
        if policy.has_fixed_blocks and not policy.revises:  # so it is in almost all passes
            eligible[standing.block] = standing.masked[standing.block]
            return eligible, revisable
        progress = standing.progress(self.memory)
        found = policy.revisable(progress)
        if found is not None:
            revisable = found & standing.free & ~standing.masked
        eligible[slice(*standing.span)] = True
        return standing.masked & policy.scope(progress) & eligible, revisable & eligible

    def generation(self, record_steps: bool) -> Generation:
        """The record of a finished row."""
        returned = self.plan.text_rule.read(self.region_ids)
        return Generation(
            token_ids=self.region_ids,
            text=returned.text if self.plan.returns_text else None,
            nfe=self.steps * self.plan.nfe_per_step,
            nfe_partial=self.partial_steps * self.plan.nfe_per_step,
            tokens=returned.num_tokens,
            stop=self.stop,
            early_exit=self.exit_step is not None,
            exit_step=self.exit_step,
            answer_entropy=self.answer_entropy,
            gold_logprob=self._gold.log_prob,
            truncated=self.plan.truncated,
            commit_steps=[step or None for step in self._committed_in.tolist()] if record_steps else None,
        )
