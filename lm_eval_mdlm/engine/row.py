"""One request: what it asks for, and how far its region has been filled."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from ..decoding.blocks import split_into_blocks
from ..decoding.logits import LogitRule
from ..decoding.policies import UnmaskPolicy
from ..decoding.proposal import RowKey
from ..template import Region
from .record import Generation
from .text import TextRule


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
    exit_threshold: float | None = None
    """Answer entropy, in nats, below which the row ends; None for no early exit."""
    stop_when_settled: bool = False
    text_rule: TextRule
    returns_text: bool = True
    """False where there is no tokenizer, and `text_rule` only counts tokens."""
    truncated: bool = False

    @property
    def canvas_length(self) -> int:
        """Tokens of prompt and region."""
        return len(self.prompt_ids) + len(self.region.token_ids)

    @property
    def tokens_per_pass(self) -> int:
        """Tokens that a forward pass of this row processes; guidance doubles them."""
        return self.canvas_length * self.nfe_per_step

    @property
    def nfe_per_step(self) -> int:
        """What a step costs."""
        return 2 if self.logit_rule.guided else 1


@dataclass
class Row:
    """The state of a live row; changed only by `commit`, `exit` and `finish_step`."""

    plan: RowPlan
    canvas: Int[Tensor, " L"] = field(init=False)
    """Prompt and region, on the CPU."""
    blocks: list[list[int]] = field(init=False)
    """Positions still masked, by block; the first block is the current one."""
    masked_answer: list[int] = field(init=False)
    num_blocks: int = field(init=False)
    block_masks: int = field(init=False)
    block_step: int = 0
    steps: int = 0
    answer_entropy: float | None = None
    exit_step: int | None = None
    commit_steps: list[int | None] = field(init=False)
    settled: bool = False

    def __post_init__(self) -> None:
        plan = self.plan
        ids = plan.region.token_ids
        self.canvas = torch.tensor([*plan.prompt_ids, *ids], dtype=torch.long)
        masked = [i for i, token in enumerate(ids) if token == plan.mask_token_id]
        self.blocks = split_into_blocks(masked, plan.block_length)
        self.num_blocks = len(self.blocks)
        self.block_masks = len(self.blocks[0])
        self.masked_answer = list(plan.region.answer_positions)
        self.commit_steps = [None] * len(ids)

    @property
    def eligible(self) -> list[int]:
        """Masked positions of the current block, ascending."""
        return self.blocks[0]

    @property
    def wanted(self) -> list[int]:
        """Positions whose distributions this step needs, ascending: the eligible ones and the answer."""
        return sorted({*self.eligible, *self.masked_answer})

    @property
    def done(self) -> bool:
        """Whether the row needs no further pass."""
        return not self.blocks or self.exit_step is not None or self.settled

    @property
    def region_ids(self) -> list[int]:
        """The region's tokens as they stand."""
        return self.canvas[len(self.plan.prompt_ids) :].tolist()

    def unconditional_canvas(self) -> Int[Tensor, " L"]:
        """The canvas with its prompt masked, for guidance."""
        canvas = self.canvas.clone()
        canvas[: len(self.plan.prompt_ids)] = self.plan.mask_token_id
        return canvas

    def exits(self, entropies: dict[int, float]) -> bool:
        """Note the answer's entropy at this pass; whether it is low enough to end the row.

        The sum of marginal entropies bounds the joint entropy from above, so the row never ends on an answer less
        certain than asked; a lower threshold ends later.
        """
        if self.plan.region.answer_positions:
            self.answer_entropy = math.fsum(entropies[i] for i in self.masked_answer)
        threshold = self.plan.exit_threshold
        return threshold is not None and self.answer_entropy is not None and self.answer_entropy < threshold

    def commit(self, tokens: dict[int, int]) -> None:
        """Write tokens at masked positions of the region; they never change again."""
        offset = len(self.plan.prompt_ids)
        for position, token in tokens.items():
            self.canvas[offset + position] = token
            self.commit_steps[position] = self.steps + 1
        self.blocks = [[i for i in block if i not in tokens] for block in self.blocks]
        self.masked_answer = [i for i in self.masked_answer if i not in tokens]

    def finish_step(self, exited: bool) -> None:
        """Count the pass, open the next block if the current one is full, and test whether the text is settled."""
        self.steps += 1
        self.block_step += 1
        if exited:
            self.exit_step = self.steps
        if not self.blocks[0]:
            self.blocks = [block for block in self.blocks if block]
            self.block_step, self.block_masks = 0, len(self.blocks[0]) if self.blocks else 0
        if self.plan.stop_when_settled and not self.done:
            self.settled = self.plan.text_rule.is_settled(self.region_ids)

    def generation(self, record_steps: bool) -> Generation:
        """The record of a finished row."""
        returned = self.plan.text_rule.read(self.region_ids)
        return Generation(
            token_ids=self.region_ids,
            text=returned.text if self.plan.returns_text else None,
            nfe=self.steps * self.plan.nfe_per_step,
            tokens=returned.num_tokens,
            early_exit=self.exit_step is not None,
            exit_step=self.exit_step,
            answer_entropy=self.answer_entropy,
            truncated=self.plan.truncated,
            commit_steps=list(self.commit_steps) if record_steps else None,
        )
