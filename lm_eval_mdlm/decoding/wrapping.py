"""Rules laid over any sampler: what it may choose from, and which of its choices are carried out."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UsageError
from .look import Look
from .policy import Decision, DecodingPolicy, Progress
from .scores import Candidates, ranks
from .types import Mask, PerPosition
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Wrapped(DecodingPolicy):
    """A sampler as it is, for a rule that changes some of it."""

    rule: DecodingPolicy

    @property
    def needs_noise(self) -> bool:
        return self.rule.needs_noise

    @property
    def needs_tokens(self) -> bool:
        return self.rule.needs_tokens

    @property
    def looks(self) -> bool:
        return self.rule.looks

    @property
    def compares(self) -> bool:
        return self.rule.compares

    @property
    def proposes(self) -> bool:
        return self.rule.proposes

    @property
    def may_pause(self) -> bool:
        return self.rule.may_pause

    @property
    def revises(self) -> bool:
        return self.rule.revises

    @property
    def has_fixed_blocks(self) -> bool:
        return self.rule.has_fixed_blocks

    @property
    def depends_on_distributions_alone(self) -> bool:
        return self.rule.depends_on_distributions_alone and not self.needs_tokens

    def check_blocks(self, num_blocks: int) -> None:
        self.rule.check_blocks(num_blocks)

    def most_steps(self, num_masks: int) -> int | None:
        # What is held back is committed later, at least one position a pass.
        most = self.rule.most_steps(num_masks)
        return None if most is None else most + num_masks

    def steps_of(self, num_masks: int, num_blocks: int) -> int | None:
        return None  # what is held back, and how often, the network decides

    def bound(self, vocabulary: Vocabulary) -> DecodingPolicy:
        return replace(self, rule=self.rule.bound(vocabulary))

    def on_grid(self, block_length: int) -> DecodingPolicy:
        return replace(self, rule=self.rule.on_grid(block_length))

    def begin(self) -> Any:
        return self.rule.begin()

    def scope(self, progress: Progress) -> NDArray[np.bool_]:
        return self.rule.scope(progress)

    def revisable(self, progress: Progress) -> NDArray[np.bool_] | None:
        return self.rule.revisable(progress)

    def look(self, look: Look, candidates: Candidates) -> Candidates:
        return self.rule.look(look, candidates)

    def focus(self, candidates: Candidates) -> Candidates:
        return self.rule.focus(candidates)

    def order(self, candidates: Candidates) -> PerPosition:
        return self.rule.order(candidates)

    def decide(self, candidates: Candidates) -> Decision:
        return self.rule.decide(candidates)

    def completes(self, num_masked: int, memory: Any) -> bool:
        return self.rule.completes(num_masked, memory)

    def is_final(self, memory: Any) -> bool:
        return self.rule.is_final(memory)


@dataclass(frozen=True)
class Spaced(Wrapped):
    """Of the masks that a rule would fill in one pass, the best first, those at least a gap from all that are kept.

    gap = max(2, floor(m g / b)), with m eligible positions and a block of b; so neighbours never go together. The first
    is always kept. Source: the spacing filter of DUS, arXiv:2506.19037 (g is g0, m is |M|, b is B there).
    """

    min_distance: float
    """g, at least 0."""

    def decide(self, candidates: Candidates) -> Decision:
        candidates = self.rule.focus(candidates)
        decision = self.rule.decide(candidates)
        chosen = decision.commit & candidates.eligible
        masks = candidates.eligible.sum(dim=-1)
        gaps = (masks.double() * self.min_distance / candidates.block_length).floor().clamp(min=2)
        kept = torch.stack(
            [
                _apart(*row)
                for row in zip(chosen, ranks(self.order(candidates), chosen), candidates.position, gaps, strict=True)
            ]
        )
        return replace(decision, commit=kept | decision.commit & ~candidates.eligible)


def _apart(chosen: torch.Tensor, rank: torch.Tensor, position: torch.Tensor, gap: torch.Tensor) -> torch.Tensor:
    """Of one row's chosen candidates, those that are kept."""
    kept, places = torch.zeros_like(chosen), position.tolist()
    taken: list[int] = []
    for candidate in rank.argsort()[: int(chosen.sum())].tolist():
        if all(abs(places[candidate] - place) >= gap for place in taken):
            taken.append(places[candidate])
            kept[candidate] = True
    return kept


@dataclass(frozen=True)
class Deferred(Wrapped):
    """A rule that chooses among positions proposed as end of text only where no other position is eligible.

    Source: `confidence_eos_eot_inf` in `generate.py` of Nie et al. 2025 (LLaDA), arXiv:2502.09992, for both of the
    tokens that it names.
    """

    end_ids: tuple[int, ...] = ()
    """Known once the rule is bound."""

    @property
    def needs_tokens(self) -> bool:
        return True

    def bound(self, vocabulary: Vocabulary) -> DecodingPolicy:
        if not vocabulary.end_ids:
            raise UsageError(
                "defer_end_of_text=True needs an end-of-text token, and the checkpoint has none; leave it out."
            )
        return Deferred(self.rule.bound(vocabulary), vocabulary.end_ids)

    def focus(self, candidates: Candidates) -> Candidates:
        focused = self.rule.focus(candidates)
        return replace(focused, eligible=self._not_ending(focused))

    def decide(self, candidates: Candidates) -> Decision:
        return self.rule.decide(self.focus(candidates))

    def _not_ending(self, candidates: Candidates) -> Mask:
        ends = torch.isin(candidates.token, torch.tensor(self.end_ids))
        others = candidates.eligible & ~ends
        return torch.where(others.any(dim=-1, keepdim=True), others, candidates.eligible)
