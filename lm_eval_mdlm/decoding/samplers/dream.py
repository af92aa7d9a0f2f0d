"""Dream's own decoding loop: a fixed number of steps over the whole region, each with its share of the masks.

Source: `diffusion_generate` of Ye et al. 2025 (Dream), arXiv:2508.15487. Two things differ here. The share is that of
the row's own masks, where the published loop averages masks over the batch. And the mask token is never proposed.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from ...errors import UsageError
from ..look import Columns, Look
from ..policy import Decision, DecodingPolicy
from ..proposal import gumbel_argmax
from ..scores import Candidates, ranks
from ..types import Logits, Mask, PerRow


EPS = 1e-3
"""Share of the masks that a schedule without its last step would leave."""
BYTES_PER_ENTRY = 80
"""Peak bytes per logit while a distribution is sorted, cut and drawn from in float64."""


def _of_token(shares: Float64[Tensor, "R V"], token: Int[Tensor, " R"]) -> Float64[Tensor, " R"]:
    return shares.gather(-1, token[:, None]).squeeze(-1)


def _of_margin(shares: Float64[Tensor, "R V"], token: Int[Tensor, " R"]) -> Float64[Tensor, " R"]:
    first, second = shares.topk(2, dim=-1).values.unbind(dim=-1)
    return first - second


def _of_entropy(shares: Float64[Tensor, "R V"], token: Int[Tensor, " R"]) -> Float64[Tensor, " R"]:
    return (shares * (shares + 1e-10).log()).sum(dim=-1)  # the published epsilon


ALGORITHMS: Mapping[str, Callable[[Float64[Tensor, "R V"], Int[Tensor, " R"]], Float64[Tensor, " R"]] | None] = {
    "origin": None,
    "maskgit_plus": _of_token,
    "topk_margin": _of_margin,
    "entropy": _of_entropy,
}
"""By name, confidence from shaped probabilities and the tokens that are proposed; None where positions are drawn."""


@dataclass(frozen=True)
class Dream(DecodingPolicy):
    """Commit in every step the share of masks that Dream's schedule says, which may be none.

    Probabilities are shaped first by temperature, then by `top_p`, then by `top_k`; tokens and confidence come from
    what is left, also at temperature 0. The algorithm `origin` moves every mask with the schedule's probability.
    """

    alg: str = "entropy"
    """A name in `ALGORITHMS`."""
    steps: int | None = None
    """At least 1; as many as the row has masks if None."""
    alg_temp: float = 0.0
    """Above 0 positions are drawn, without replacement, from softmax(confidence / alg_temp)."""
    top_p: float | None = None
    """In (0, 1): only the likeliest tokens up to the one with which their probability exceeds this."""
    top_k: int | None = None
    """Only tokens at least as likely as the k-th likeliest one."""

    def __post_init__(self) -> None:
        if self.alg_temp and ALGORITHMS[self.alg] is None:
            raise UsageError(
                f"alg_temp={self.alg_temp:g} would be ignored by alg={self.alg}, which draws positions by the schedule "
                f"alone; leave it out, or change alg."
            )

    @property
    def needs_noise(self) -> bool:
        return ALGORITHMS[self.alg] is None or self.alg_temp > 0

    @property
    def looks(self) -> bool:
        return True

    @property
    def proposes(self) -> bool:
        """Whether `look` draws the proposals."""
        return True

    @property
    def may_pause(self) -> bool:
        return True

    @property
    def has_fixed_blocks(self) -> bool:
        return False

    @property
    def depends_on_distributions_alone(self) -> bool:
        return not self.needs_noise

    def most_steps(self, num_masks: int) -> int:
        return self.steps or num_masks

    def steps_of(self, num_masks: int, num_blocks: int) -> int | None:
        # By `origin` chance may fill the last mask in any step.
        return None if self.alg == "origin" else self.most_steps(num_masks)

    def look(self, look: Look, candidates: Candidates) -> Candidates:
        temperatures, seeds = look.temperatures, look.seeds

        def read(logits: Logits, entries: Sequence[int]) -> Columns:
            return self._read(logits, [temperatures[i] for i in entries], [seeds[i] for i in entries])

        confidence, token = look.read(read, BYTES_PER_ENTRY)
        tokens = candidates.token.clone()
        tokens[candidates.eligible] = token.long()
        # Handed on with the memories, since what all others read as confidence is not shaped.
        scores = torch.zeros(tokens.shape)
        scores[candidates.eligible] = confidence.float()
        return replace(candidates, token=tokens, memories=tuple(scores))

    def _read(
        self, logits: Float[Tensor, "R V"], temperatures: Sequence[float], seeds: Sequence[int]
    ) -> Float64[Tensor, "2 R"]:
        """Confidence and token of every row; the last rows may be padding."""
        filled = [*temperatures, *[0.0] * (len(logits) - len(temperatures))]
        divisors = torch.tensor([own or 1.0 for own in filled], dtype=torch.float64).to(logits.device)
        shaped = self._shaped(logits.double() / divisors[:, None])
        token = shaped.argmax(dim=-1)
        drawn = [row for row, own in enumerate(filled) if own > 0]
        if drawn:
            token[drawn] = gumbel_argmax(shaped[drawn], [1.0] * len(drawn), [seeds[row] for row in drawn])
        confidence = ALGORITHMS[self.alg]
        shares = torch.zeros_like(token) if confidence is None else confidence(shaped.softmax(dim=-1), token)
        return torch.stack([shares.double(), token.double()])

    def _shaped(self, logits: Float64[Tensor, "R V"]) -> Float64[Tensor, "R V"]:
        if self.top_p is not None:
            ordered, order = logits.sort(dim=-1, descending=True, stable=True)
            before = ordered.softmax(dim=-1).cumsum(dim=-1).roll(1, dims=-1)
            before[:, 0] = 0.0
            beyond = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before > self.top_p)
            logits = logits.masked_fill(beyond, -torch.inf)
        if self.top_k is not None:
            least = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        return logits

    def decide(self, candidates: Candidates) -> Decision:
        columns = zip(candidates.block_masks.tolist(), candidates.block_step.tolist(), strict=True)
        shares = np.array([_share(self.most_steps(masks), step) for masks, step in columns], dtype=np.float32)
        nothing = (None,) * len(shares)
        if ALGORITHMS[self.alg] is None:
            moved = candidates.noise < torch.from_numpy(shares)[:, None]
            return Decision(moved & candidates.eligible, nothing, tokens=candidates.token)
        masks = candidates.eligible.sum(dim=-1).numpy().astype(np.float32)
        quota = torch.from_numpy((masks * shares).astype(np.int64))  # rounded in float32 and cut off, as published
        commit = best(candidates, self.order(candidates), quota)
        return Decision(commit, nothing, tokens=candidates.token)

    def order(self, candidates: Candidates) -> Float[Tensor, "B N"]:
        """Lowest first."""
        if ALGORITHMS[self.alg] is None:
            return candidates.noise
        scores = torch.stack(candidates.memories)
        if not self.alg_temp:
            return -scores
        # The largest of scores plus Gumbel noise are a draw without replacement.
        return (-candidates.noise.double().log()).log() - scores.double() / self.alg_temp


def best(candidates: Candidates, order: Float[Tensor, "B N"], quota: PerRow) -> Mask:
    """As many eligible positions of every row as its quota says, lowest first, ties to the leftmost."""
    return (ranks(order, candidates.eligible) < quota[:, None]) & candidates.eligible


@functools.lru_cache
def _share(steps: int, step: int) -> float:
    """Of the masks before a step, those that it commits; rounded as in the published loop."""
    if step >= steps - 1:
        return 1.0
    times: NDArray[np.float32] = torch.linspace(1, EPS, steps + 1).numpy()
    return float(1 - times[step + 1] / times[step])
