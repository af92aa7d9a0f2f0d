"""What one row asks for."""

from dataclasses import dataclass

from ..canvas.template import Region
from ..canvas.text import TextRule
from ..decoding.blocks import Blocks
from ..decoding.exits import ExitRule
from ..decoding.logits import LogitRule
from ..decoding.policy import DecodingPolicy
from ..decoding.proposal import RowKey
from ..decoding.restriction import Restriction
from .cache import CachePolicy


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """Everything that determines a row's result, and nothing about its batch."""

    prompt_ids: tuple[int, ...]
    region: Region
    policy: DecodingPolicy
    blocks: Blocks
    """How the region is cut."""
    logit_rule: LogitRule
    key: RowKey
    mask_token_id: int
    temperature: float = 0.0
    restriction: Restriction | None = None
    """Which tokens a sample may be; None for all."""
    gold: tuple[int, ...] = ()
    """Tokens whose log-probabilities are read at the first positions of the region's one answer; empty for none."""
    exit_rule: ExitRule | None = None
    """When the row ends because its answer is clear; None for no early exit."""
    max_nfe: int | None = None
    """Most forward passes, at least what a step costs; None for as many as it takes."""
    stop_when_settled: bool = False
    text_rule: TextRule
    returns_text: bool = True
    """False where there is no tokenizer, and `text_rule` only counts tokens."""
    truncated: bool = False
    cache: CachePolicy | None = None
    """Recompute only part of the canvas in most passes; None for exact decoding."""
    lookback: int = 0
    """The backbone's: how far before a token the state lies from which it is predicted."""

    def final_before(self, position: int) -> int | None:
        """Where on the canvas all begins that a text's tokens from this position of the region on may change.

        None where nothing is kept between passes, or not exactly.
        """
        if self.cache is None or not self.cache.is_exact:
            return None
        # A token that is read from the state before its own needs the block of that one, too.
        first = self.blocks.number(position) - self.lookback
        return max(0, len(self.prompt_ids) + self.blocks.start(first))

    @property
    def canvas_length(self) -> int:
        """Tokens of prompt and region."""
        return len(self.prompt_ids) + len(self.region.token_ids)

    @property
    def nominal_nfe(self) -> int | None:
        """Forward passes of the row if nothing ends it early; None where the network decides how many."""
        masked = [i for i, token in enumerate(self.region.token_ids) if token == self.mask_token_id]
        blocks = self.blocks.split(masked)
        steps = [self.policy.steps_of(len(block), len(blocks)) for block in blocks]
        known = [own for own in steps if own is not None]
        return self.nfe_per_step * sum(known) if len(known) == len(steps) else None

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
