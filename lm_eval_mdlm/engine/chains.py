"""The question of joint probabilities: how far is taking masks one by one from taking each by itself?

By the chain rule, one position after the other in a fixed order, everything else on the canvas staying as it is. Chains
are sampled at temperature 1, so that means over them are unbiased estimates for the joint distribution that the order
defines; a network's conditionals need not agree on one, so that another order may have another.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..decoding.logits import LogitRule
from ..decoding.proposal import RowKey
from ..decoding.restriction import Draw
from .job import Job, Kind, Work
from .query import Query, Reading
from .reader import grouped
from .readout import Readout
from .states import states_at


@dataclass(frozen=True, kw_only=True)
class ChainsPlan:
    """Everything that determines the chains over k masks of one canvas."""

    canvas: tuple[int, ...]
    prompt_length: int
    """Tokens of the canvas that guidance masks."""
    positions: tuple[int, ...]
    """(k,) in the canvas, masks there, in the order of the chain."""
    rule: LogitRule
    key: RowKey
    mask_token_id: int
    num_samples: int
    given: tuple[int, ...] = ()
    """(k,) tokens that a further chain follows; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Chains:
    """n sampled chains over k positions, and the given one."""

    drawn: tuple[tuple[int, ...], ...]
    """(n, k) tokens of each chain."""
    together: tuple[float, ...]
    """(n,) log-probability of each chain's tokens by the chain rule, nats."""
    apart: tuple[float, ...]
    """(n,) sum of the log-probabilities of the same tokens in the first pass alone, nats."""
    divergence: tuple[float, ...]
    """(n,) sum over the chain of KL(the position's distribution as it came || that in the first pass), nats; its mean
    estimates the divergence of the joint distribution from the product of the first pass's marginals as that of
    `together - apart` does, with far less variance."""
    conditional_entropy: tuple[float, ...]
    """(n,) sum over the chain of the entropies of the positions as they came, nats; its mean estimates the joint
    entropy as that of `-together` does, with far less variance."""
    entropies: tuple[float, ...]
    """(k,) of the positions in the first pass, nats."""
    given_together: float | None
    """Of the given tokens, as the next; None without them."""
    given_apart: float | None
    nfe: int
    """Forward passes; guidance counts 2. Chains that begin alike share them."""

    @property
    def tokens(self) -> int:
        """None are written."""
        return 0

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Chains":
        """The inverse of `to_plain`, also after a way through JSON."""
        lists: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        return cls(**{**lists, "drawn": tuple(tuple(own) for own in plain["drawn"])})


@dataclass(frozen=True, eq=False)
class _Found:
    """What one pass says of the next position of several chains, m of them, that have been the same so far."""

    tokens: NDArray[np.int64]
    """(m,)"""
    log_probs: NDArray[np.float64]
    """(m,) nats."""
    apart: NDArray[np.float64]
    """(m,) the same in the first pass."""
    divergence: float
    """From the distribution in the first pass, nats."""
    entropies: NDArray[np.float32]
    """Of all positions asked for, ascending, nats."""
    states: Float[Tensor, "_ D"]
    """Of these."""


class _Step(Job):
    """One pass over a canvas on which the chain has come to its position number `place`."""

    def __init__(self, plan: ChainsPlan, chains: Sequence[int], begun: Sequence[int], first: "_Found | None") -> None:
        self.kind, self.slots = _STEPPING, []
        self.plan, self.chains, self.first, self.place = plan, chains, first, len(begun)
        self.found: _Found | None = None
        self._canvas = np.array(plan.canvas, dtype=np.int64)
        self._canvas[list(plan.positions[: self.place])] = begun
        asked = plan.positions if first is None else plan.positions[self.place : self.place + 1]
        self._wanted = np.array(sorted(asked), dtype=np.int64)

    @property
    def done(self) -> bool:
        """See `Job`."""
        return self.found is not None

    @property
    def tokens_of_next_pass(self) -> int:
        """See `Job`."""
        return len(self._canvas) * (2 if self.plan.rule.guided else 1)

    def query(self) -> Query:
        """See `Job`."""
        canvases = [self._canvas]
        if self.plan.rule.guided:
            unconditional = self._canvas.copy()
            unconditional[: self.plan.prompt_length] = self.plan.mask_token_id
            canvases.append(unconditional)
        return Query(canvases=canvases, wanted=self._wanted, rule=self.plan.rule)

    @property
    def here(self) -> int:
        """Index of the position among those asked for."""
        return int(np.searchsorted(self._wanted, self.plan.positions[self.place]))

    @property
    def in_first(self) -> int:
        """Index of the position among those of the first pass."""
        return sorted(self.plan.positions).index(self.plan.positions[self.place])

    def draw(self, chain: int) -> Draw:
        """How a chain's token is drawn."""
        return Draw(temperature=1.0, seed=self.plan.key.seed("chain", chain, self.plan.positions[self.place]))

    def advance(self, change: _Found) -> None:
        """See `Job`."""
        self.found = change


class _Stepping(Kind):
    """Draws the next token of every chain, but for those that are given."""

    def decide(self, jobs: Sequence[_Step], reading: Reading, readout: Readout) -> list[_Found]:
        found: dict[int, _Found] = {}
        for rule, members in grouped(range(len(jobs)), lambda i: jobs[i].plan.rule).items():
            own = [jobs[i] for i in members]
            states = [reading.states[i] for i in members]
            counts = [len(job.chains) for job in own]
            here = states_at(rule, states, [np.full(n, job.here) for job, n in zip(own, counts, strict=True)])
            drawn = readout.sample(rule, here, [job.draw(chain) for job in own for chain in job.chains])
            tokens = [np.array(part) for part in np.split(np.array(drawn, dtype=np.int64), np.cumsum(counts)[:-1])]
            for job, part in zip(own, tokens, strict=True):
                if job.plan.given:
                    part[[chain == _GIVEN for chain in job.chains]] = job.plan.given[job.place]
            targets = torch.from_numpy(np.concatenate(tokens))
            log_probs = _log_probs(readout, rule, here, targets, counts)
            firsts = [state if job.first is None else job.first.states for job, state in zip(own, states, strict=True)]
            before = states_at(rule, firsts, [np.full(n, job.in_first) for job, n in zip(own, counts, strict=True)])
            apart = _log_probs(readout, rule, before, targets, counts)
            divergences = readout.divergence(rule, *_one_each(rule, (here, before), counts)).tolist()
            for number, i in enumerate(members):
                entropies = reading.entropy[reading.at(i)]
                found[i] = _Found(
                    tokens=tokens[number],
                    log_probs=log_probs[number],
                    apart=apart[number],
                    divergence=divergences[number],
                    entropies=entropies,
                    states=states[number],
                )
        return [found[i] for i in range(len(jobs))]


_STEPPING = _Stepping()
_GIVEN = -1
"""Number of the chain that is given."""


def _log_probs(
    readout: Readout, rule: LogitRule, states: Float[Tensor, "S D"], targets: Tensor, counts: Sequence[int]
) -> list[NDArray[np.float64]]:
    read = readout.statistics(rule, states, targets)[-1].numpy()
    return np.split(read, np.cumsum(counts)[:-1])


def _one_each(
    rule: LogitRule, several: Sequence[Float[Tensor, "S D"]], counts: Sequence[int]
) -> list[Float[Tensor, "_ D"]]:
    """Of states that stand there once for every chain of a job, those of its first chain."""
    places = torch.tensor([0, *accumulate(counts)][:-1])
    sides = 2 if rule.guided else 1
    return [torch.cat([side[places.to(side.device)] for side in states.chunk(sides)]) for states in several]


def chaining(plan: ChainsPlan) -> Work[Chains]:
    """Sample chains, and follow the given one; chains that have been the same so far share their next pass."""
    numbers = [*([_GIVEN] if plan.given else []), *range(plan.num_samples)]
    tokens: dict[int, list[int]] = {number: [] for number in numbers}
    sums = {number: np.zeros(4) for number in numbers}
    first: _Found | None = None
    num_passes = 0
    for _ in plan.positions:
        alike: dict[tuple[int, ...], list[int]] = {}
        for number in numbers:
            alike.setdefault(tuple(tokens[number]), []).append(number)
        jobs = [_Step(plan, chains, begun, first) for begun, chains in alike.items()]
        num_passes += len(jobs)
        yield jobs
        for job in jobs:
            found = job.found
            assert found is not None
            first = first or found
            for i, number in enumerate(job.chains):
                tokens[number].append(int(found.tokens[i]))
                sums[number] += (found.log_probs[i], found.apart[i], found.divergence, found.entropies[job.here])
    assert first is not None
    drawn = range(plan.num_samples)
    place = {position: i for i, position in enumerate(sorted(plan.positions))}
    return Chains(
        drawn=tuple(tuple(tokens[number]) for number in drawn),
        together=tuple(float(sums[number][0]) for number in drawn),
        apart=tuple(float(sums[number][1]) for number in drawn),
        divergence=tuple(float(sums[number][2]) for number in drawn),
        conditional_entropy=tuple(float(sums[number][3]) for number in drawn),
        entropies=tuple(float(first.entropies[place[position]]) for position in plan.positions),
        given_together=float(sums[_GIVEN][0]) if plan.given else None,
        given_apart=float(sums[_GIVEN][1]) if plan.given else None,
        nfe=num_passes * (2 if plan.rule.guided else 1),
    )
