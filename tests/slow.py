"""docs/semantics.md read aloud: distributions and decoding of one text at a time, in plain Python and double precision.

Written from the document and for reading, not for speed; it shares no code with the package.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


Logits = Callable[[Sequence[int]], Tensor]


@dataclass
class Decoded:
    """What became of a text."""

    tokens: list[int]
    log_prob: float
    """Of the tokens, each in the pass that committed it."""
    passes: int
    proposed: bool
    """Whether every token was the likeliest one, the smallest id among equals."""
    committed_in: list[int]
    """For each token the number of passes up to the one that committed it."""

    def passes_until_unlike(self, text: Sequence[int]) -> int:
        """Passes up to the first that commits another token than the text has; all if none does."""
        unlike = [self.committed_in[i] for i, token in enumerate(text) if token != self.tokens[i]]
        return min(unlike, default=self.passes)


class Slow:
    """A network, asked for one canvas at a time.

    Args:
        logits: From token ids to the logits of every position.
        mask: The mask token.
        cfg_scale: w of section 2.
        forbidden: Tokens whose logit is -inf.
    """

    def __init__(self, logits: Logits, mask: int, *, cfg_scale: float = 0.0, forbidden: Sequence[int] = ()) -> None:
        self.logits, self.mask, self.cfg_scale, self.forbidden = logits, mask, cfg_scale, set(forbidden)
        self._known: dict[tuple[int, ...], list[list[float]]] = {}

    def log_probs(self, prompt: Sequence[int], rest: Sequence[int]) -> list[list[float]]:
        """Log-probabilities of every token at every position of the rest."""
        canvas, split = (*prompt, *rest), (tuple(prompt), tuple(rest))
        if split not in self._known:
            rows = self.logits(canvas).double().tolist()
            if self.cfg_scale:
                without = self.logits((*[self.mask] * len(prompt), *rest)).double().tolist()
                rows = [
                    [u + (self.cfg_scale + 1) * (c - u) for c, u in zip(*both, strict=True)]
                    for both in zip(rows, without, strict=True)
                ]
            rows = [[-math.inf if i in self.forbidden else x for i, x in enumerate(row)] for row in rows]
            self._known[split] = [_log_softmax(row) for row in rows[len(prompt) :]]
        return self._known[split]

    def given_the_rest(
        self, prompt: Sequence[int], text: Sequence[int], hidden: Sequence[int], behind: Sequence[int] = ()
    ) -> dict[int, float]:
        """Log-probabilities of a text's hidden tokens, by position, from one pass."""
        canvas = [self.mask if i in hidden else token for i, token in enumerate(text)]
        rows = self.log_probs(prompt, [*canvas, *behind])
        return {i: rows[i][text[i]] for i in hidden}

    def chain_rule(self, prompt: Sequence[int], text: Sequence[int], order: Sequence[int]) -> float:
        """Log-probability of a text whose tokens are read in this order."""
        left = [order[i:] for i in range(len(order))]
        return math.fsum(self.given_the_rest(prompt, text, hidden)[hidden[0]] for hidden in left)

    def mean_over_orders(self, prompt: Sequence[int], text: Sequence[int]) -> float:
        """Mean of the chain rule over all L! orders."""
        orders = list(itertools.permutations(range(len(text))))
        return math.fsum(self.chain_rule(prompt, text, order) for order in orders) / len(orders)

    def decode(
        self, prompt: Sequence[int], length: int, options: Mapping[str, Any], given: Sequence[int] | None = None
    ) -> Decoded:
        """Sections 2 to 4 at temperature 0; with `given`, its tokens are committed instead of the likeliest ones."""
        region = [self.mask] * length
        size = options.get("block_length", 32)
        blocks = [list(range(length))[start : start + size] for start in range(0, length, size)]
        out = Decoded(region, 0.0, 0, True, [0] * length)
        for block in blocks:
            step = 0
            while masked := [i for i in block if region[i] == self.mask]:
                rows = self.log_probs(prompt, region)
                out.passes += 2 if self.cfg_scale else 1
                for i in chosen(options, {i: rows[i] for i in masked}, step, len(block), len(blocks)):
                    likeliest = rows[i].index(max(rows[i]))
                    region[i] = likeliest if given is None else given[i]
                    out.proposed &= region[i] == likeliest
                    out.log_prob += rows[i][region[i]]
                    out.committed_in[i] = out.passes
                step += 1
        return out


def _log_softmax(row: Sequence[float]) -> list[float]:
    top = max(row)
    total = top + math.log(math.fsum(math.exp(x - top) for x in row))
    return [x - total for x in row]


def entropy(row: Sequence[float]) -> float:
    """Nats, of log-probabilities."""
    return -math.fsum(math.exp(x) * x for x in row if x > -math.inf)


def margin(row: Sequence[float]) -> float:
    """Largest minus second largest probability."""
    first, second = sorted(map(math.exp, row))[:-3:-1]
    return first - second


SCORES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "entropy": entropy,
    "confidence": lambda row: -math.exp(max(row)),
    "margin": lambda row: -margin(row),
    "left_to_right": lambda row: 0.0,
}


def chosen(
    options: Mapping[str, Any], rows: Mapping[int, Sequence[float]], step: int, block_masks: int, num_blocks: int
) -> list[int]:
    """The table of section 4: which of the current block's masked positions are committed in this step."""
    by_entropy = sorted(rows, key=lambda i: entropy(rows[i]))
    by_confidence = sorted(rows, key=lambda i: -max(rows[i]))
    confidence = {i: math.exp(max(rows[i])) for i in rows}
    match options["sampler"]:
        case "fixed_k":
            best = sorted(rows, key=lambda i: SCORES[options.get("score", "entropy")](rows[i]))
            if "steps" not in options:
                return best[: options.get("k", 1)]
            share = options["steps"] // num_blocks
            return best[: block_masks // share + (step < block_masks % share)]
        case "med":
            certain = [i for i in by_entropy if entropy(rows[i]) < options.get("entropy_threshold", 0.2)]
            return certain[: options.get("k_max")] or by_entropy[:1]
        case "entropy_bound":
            prefixes = [by_entropy[:n] for n in range(1, len(rows) + 1)]
            sums = [[entropy(rows[i]) for i in prefix] for prefix in prefixes]
            bound = options.get("entropy_bound", 0.1)
            return max((p for p, h in zip(prefixes, sums, strict=True) if sum(h) - max(h) <= bound), key=len)
        case "confidence_threshold":
            sure = [i for i in rows if confidence[i] >= options.get("confidence_threshold", 0.9)]
            return sure or by_confidence[:1]
        case "confidence_factor":
            ranked = [confidence[i] for i in by_confidence]
            fits = [n for n, c in enumerate(ranked, 1) if (n + 1) * (1 - c) < options.get("factor", 1.0)]
            return by_confidence[: max(fits, default=1)]
    raise ValueError(options["sampler"])
