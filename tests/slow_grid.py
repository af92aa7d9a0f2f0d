"""Block-causal decoding read aloud: docs/semantics.md, the section on block-causal checkpoints, in plain Python.

The network is asked for one grid block at a time, with nothing behind that block on the canvas, so that what is not to
be seen cannot be seen.
"""

import contextlib
import math
from functools import partial
from typing import Any

from tests.published import EndedError, Text, dus, order_of
from tests.slow import Slow, chosen, entropy
from tests.slow_samplers import RULES, Rule


class GridText(Text):
    """A region on a grid that begins at the prompt's first token."""

    size: int
    current: list[int] | None = None
    """The block that is worked on; the first one that holds a mask if unset."""
    answer_entropy: float | None = None

    def cut(self, size: int) -> list[list[int]]:
        place = {i: (len(self.prompt) + i) // self.size for i in range(len(self.region))}
        return [[i for i in place if place[i] == n] for n in sorted(set(place.values()))]

    def distributions(self) -> list[list[float]]:
        rows = [self.network.log_probs(self.prompt, self.region[: block[-1] + 1]) for block in self.cut(self.size)]
        return [row for own, block in zip(rows, self.cut(self.size), strict=True) for row in own[block[0] :]]

    def read(self) -> None:
        most, answer = self.ways.max_nfe, self.masked(self.ways.answer)
        is_last = most is not None and (self.steps + 2) * self.cost > most
        current = self.current or next(block for block in self.cut(self.size) if self.masked(block))
        super().read()
        self.shown = is_last or self.ways.exit_threshold is not None or all(i <= current[-1] for i in answer)

    def commit(self, *args: Any, **kwargs: Any) -> None:
        if self.ways.answer:
            answer = self.masked(self.ways.answer)
            self.answer_entropy = math.fsum(entropy(self.rows[i]) for i in answer) if self.shown else None
        super().commit(*args, **kwargs)


def filling(text: GridText, o: dict[str, Any]) -> None:
    """Samplers that fill block after block for good."""
    rule = RULES.get(o["sampler"], Rule)(o)
    for block in text.cut(text.size):
        rule.open()
        step = 0
        while text.masked(block):
            text.read()
            for i, row in rule.see({i: text.rows[i] for i in text.masked(block)}).items():
                text.rows[i] = row
                if text.ways.draw is None:
                    text.proposed[i] = row.index(max(row))
            own = text.eligible(block)
            seen = {i: text.rows[i] for i in own}
            pick = rule.pick if o["sampler"] in RULES else partial(chosen, o)
            picks = pick(seen, step, text.size, 1)  # a share of `steps` is one of a full block
            text.commit(picks, own, len(block), lambda i: order_of(o)(text.rows[i]))
            step += 1


def decode_on_grid(
    network: Slow, size: int, prompt: list[int], region: list[int], options: dict[str, Any], ways: Any
) -> GridText:
    """A region filled by the loop of `options["sampler"]`, on a grid of `size` positions a block."""
    text = GridText(network, prompt, list(region), ways)
    text.size = size
    with contextlib.suppress(EndedError):
        {"dus": dus}.get(options["sampler"], filling)(text, options)
    return text
