"""Joint distributions over texts that are known exactly, together with every one of their conditionals."""

import functools
import itertools
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from lm_eval_mdlm.errors import UsageError


Canvases: TypeAlias = Int[Tensor, "B L"]
"""Token ids; `vocab_size` itself is the mask."""


@dataclass(frozen=True, eq=False)
class Joint:
    """A Markov chain over T states, each of which stands for the symbols of w positions; L = T w.

    Fixed tokens are evidence about states, so that the forward-backward recursion gives every conditional, however
    far apart the w positions of a state are. All arithmetic is float64.
    """

    name: str
    vocab_size: int
    """V."""
    initial: Float64[Tensor, " Q"]
    transitions: Float64[Tensor, "T-1 Q Q"]
    """Row: the state before."""
    symbols: Int[Tensor, "Q w"]
    """Of a state, at each of its positions."""
    places: Int[Tensor, "T w"]
    """In the text, of a state's symbols; every position once."""

    @property
    def length(self) -> int:
        """L."""
        return self.places.numel()

    @property
    def is_plain_chain(self) -> bool:
        """Whether states are tokens in their order, so that subsets of a text are Markov chains too."""
        return self.places.shape[1] == 1 and bool((self.places[:, 0] == torch.arange(self.length)).all())

    def log_prob(self, canvases: Canvases) -> Float64[Tensor, " B"]:
        """Log-probability of the fixed tokens, masked ones summed out, nats."""
        return self._forward(self._evidence(canvases))[1]

    def log_posterior(self, canvases: Canvases) -> Float64[Tensor, "B L V"]:
        """Log-probabilities of every position given the fixed tokens; fixed positions are certain."""
        evidence = self._evidence(canvases)
        weights = self._forward(evidence)[0] * self._backward(evidence)
        found = torch.zeros(len(canvases), self.length, self.vocab_size, dtype=torch.float64)
        for j, symbols in enumerate(self.symbols.T):
            found[:, self.places[:, j]] = weights @ torch.nn.functional.one_hot(symbols, self.vocab_size).double()
        return (found / found.sum(-1, keepdim=True)).log()

    def joint_entropy(self, canvases: Canvases, chosen: Bool[Tensor, "B L"]) -> Float64[Tensor, " B"]:
        """Joint entropy of the chosen positions given the fixed tokens, nats; of plain chains only."""
        assert self.is_plain_chain, "a subset of a chain over pairs is no chain, and has no short sum"
        evidence = self._evidence(canvases)
        after = self._backward(evidence)
        alpha = self.initial * evidence[:, 0] * after[:, 0]
        # Given the evidence the text is again a chain, from each chosen position to the next with `moved`.
        marginal = alpha / alpha.sum(-1, keepdim=True)
        moved = marginal[:, None, :].expand(-1, self.vocab_size, -1)
        last = torch.full_like(marginal, 1 / self.vocab_size)
        total = torch.zeros(len(canvases), dtype=torch.float64)
        for t in range(self.length):
            if t:
                step = self.transitions[t - 1] * (evidence[:, t] * after[:, t])[:, None, :]
                step = step / step.sum(-1, keepdim=True).clamp_min(1e-300)
                moved, marginal = moved @ step, (marginal[:, None, :] @ step)[:, 0]
            now = chosen[:, t]
            conditional = (last * torch.special.entr(moved).sum(-1)).sum(-1)
            total = total + torch.where(now, conditional, 0.0)
            last = torch.where(now[:, None], marginal, last)
            moved = torch.where(now[:, None, None], torch.eye(self.vocab_size, dtype=torch.float64), moved)
        return total

    def sample(self, number: int, generator: torch.Generator) -> Canvases:
        """Independent texts."""
        state = self.initial.expand(number, -1).multinomial(1, generator=generator)[:, 0]
        states = [state]
        for transition in self.transitions:
            state = transition[state].multinomial(1, generator=generator)[:, 0]
            states.append(state)
        texts = torch.empty(number, self.length, dtype=torch.long)
        texts[:, self.places] = self.symbols[torch.stack(states, dim=1)]
        return texts

    @functools.cached_property
    def texts(self) -> Canvases:
        """All V^L texts, in the order of their ids."""
        return torch.tensor(list(itertools.product(range(self.vocab_size), repeat=self.length)))

    @functools.cached_property
    def probabilities(self) -> Float64[Tensor, " N"]:
        """Of all texts."""
        return self.log_prob(self.texts).exp()

    def _evidence(self, canvases: Canvases) -> Float64[Tensor, "B T Q"]:
        """1 for states that the fixed tokens allow, else 0."""
        fixed = canvases[:, self.places]  # (B, T, w)
        open_ = (fixed == self.vocab_size)[:, :, None, :]
        return (open_ | (fixed[:, :, None, :] == self.symbols)).all(-1).double()

    def _forward(self, evidence: Float64[Tensor, "B T Q"]) -> tuple[Float64[Tensor, "B T Q"], Float64[Tensor, " B"]]:
        """P(state, evidence up to it), each scaled to sum to one, and the log of the scales' product."""
        found, scale = [], torch.zeros(len(evidence), dtype=torch.float64)
        alpha = self.initial.expand(len(evidence), -1)
        for t, allowed in enumerate(evidence.unbind(1)):
            alpha = (alpha @ self.transitions[t - 1] if t else alpha) * allowed
            total = alpha.sum(-1, keepdim=True)
            alpha, scale = alpha / total, scale + total[:, 0].log()
            found.append(alpha)
        return torch.stack(found, dim=1), scale

    def _backward(self, evidence: Float64[Tensor, "B T Q"]) -> Float64[Tensor, "B T Q"]:
        """P(evidence after a state | state), scaled."""
        beta = torch.ones_like(evidence[:, 0])
        found = [beta]
        for t in range(len(self.transitions) - 1, -1, -1):
            beta = (beta * evidence[:, t + 1]) @ self.transitions[t].T
            beta = beta / beta.sum(-1, keepdim=True)
            found.append(beta)
        return torch.stack(found[::-1], dim=1)


def rows_at_random(generator: torch.Generator, *shape: int, spread: Tensor) -> Float64[Tensor, "*shape"]:
    """Distributions over the last axis: softmax of normal numbers of this spread, and 2 % of a uniform one.

    A larger spread makes them surer. Nothing is impossible, so that every divergence is finite.
    """
    drawn = (torch.randn(*shape, generator=generator, dtype=torch.float64) * spread).softmax(-1)
    return 0.98 * drawn + 0.02 / shape[-1]


def chain(*, vocab_size: int, length: int, seed: int = 0) -> Joint:
    """A Markov chain with a transition matrix of its own at every position: some nearly certain, some nearly free."""
    generator = torch.Generator().manual_seed(seed)
    spreads = 0.5 + 7 * torch.rand(length, 1, 1, generator=generator, dtype=torch.float64)
    return Joint(
        "chain",
        vocab_size,
        rows_at_random(generator, vocab_size, spread=spreads[0, 0]),
        rows_at_random(generator, length - 1, vocab_size, vocab_size, spread=spreads[1:]),
        torch.arange(vocab_size)[:, None],
        torch.arange(length)[:, None],
    )


def copies(*, vocab_size: int, length: int, seed: int = 0) -> Joint:
    """A Markov chain of L / 2 symbols, and its copy through a noisy channel, L / 2 positions behind.

    Position i + L / 2 repeats position i with a probability of its own, from 0.7 to 1; what is left goes in equal
    parts to position i - 1 (at i = 0, where there is none, to position i) and to any symbol.
    """
    if length % 2:
        raise UsageError(f"a text and its copy must have an even length together, got {length}; add or take one.")
    source = chain(vocab_size=vocab_size, length=length // 2, seed=seed)
    kept = 0.7 + 0.3 * torch.rand(length // 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept, left = kept[:, None, None, None], (1 - kept[:, None, None, None]) / 2
    same = torch.eye(vocab_size, dtype=torch.float64)
    channel = kept * same[None] + left * same[:, None] + left / vocab_size  # [i, symbol i - 1, symbol i, its copy]
    first = source.initial[:, None] * channel[0].diagonal().T
    # [i, symbol i - 1, its copy (which says no more), symbol i, its copy]
    moves = (source.transitions[..., None] * channel[1:])[:, :, None].expand(-1, -1, vocab_size, -1, -1)
    states, half = vocab_size**2, torch.arange(length // 2)
    symbols = torch.cartesian_prod(torch.arange(vocab_size), torch.arange(vocab_size))
    places = torch.stack([half, half + length // 2], dim=1)
    return Joint("copies", vocab_size, first.reshape(-1), moves.reshape(-1, states, states), symbols, places)
