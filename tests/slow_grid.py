"""Block-causal decoding read aloud: docs/semantics.md, the section on block-causal checkpoints, in plain Python.

The network is asked for one grid block at a time, with nothing behind that block on the canvas, so that what is not to
be seen cannot be seen.
"""

import contextlib
import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.published import EndedError, Text, dus, order_of
from tests.slow import Slow, chosen, entropy
from tests.slow_samplers import RULES, Rule


@dataclass
class GridText(Text):
    """A region on a grid that begins at the prompt's first token."""

    size: int = 1
    current: list[int] | None = None
    """The block that is worked on; the first one that holds a mask if unset."""
    answer_entropy: float | None = None
    seen: dict[int, list[float]] = field(default_factory=dict)
    """Distributions of masked answer positions, from the last pass that held each."""

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
        ahead = is_last or self.ways.exit_threshold is not None
        self.seen |= {i: self.rows[i] for i in answer if ahead or i <= current[-1]}
        self.shown = ahead or all(i <= current[-1] for i in answer)

    def commit(self, *args: Any, **kwargs: Any) -> None:
        if self.ways.answer:
            answer = self.masked(self.ways.answer)
            self.answer_entropy = math.fsum(entropy(self.rows[i]) for i in answer) if self.shown else None
        super().commit(*args, **kwargs)

    def _apart(self, best_first: list[int], own: Any, span: int) -> list[int]:
        others = [i for i in best_first if i not in own]  # which get another token
        return super()._apart([i for i in best_first if i in own], own, span) + others


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
                draw = text.ways.draw
                text.proposed[i] = row.index(max(row)) if draw is None else draw(text.steps - 1, i, row)
            own = text.eligible(block)
            seen = {i: text.rows[i] for i in own}
            pick = rule.pick if o["sampler"] in RULES else partial(chosen, o)
            picks = pick(seen, step, text.size, 1)  # a share of `steps` is one of a full block
            text.commit(picks, own, len(block), lambda i: order_of(o)(text.rows[i]))
            step += 1


def editing(text: GridText, o: dict[str, Any]) -> None:
    """LLaDA2.1's rule."""
    most, draw = o.get("max_edit_passes", 16), text.ways.draw
    for block in text.cut(text.size):
        text.current, without = block, 0
        own = [i for i in block if i in text.free]
        while own:
            masks = text.masked(block)
            text.read()
            eligible = text.eligible(block)
            sure = [i for i in eligible if text.confidence(i) > o.get("confidence_threshold", 0.7)]
            other = [i for i in own if i not in masks and text.likeliest[i] != text.region[i]]
            other = [i for i in other if text.confidence(i) > o.get("edit_threshold", 0.5)]
            for i in other:
                text.proposed[i] = text.likeliest[i] if draw is None else draw(text.steps - 1, i, text.rows[i])
            fill = sure or text.by_confidence(eligible)[:1]
            without += not masks
            ends = without >= most or (not masks and not other)
            behind = text.masked(range(block[-1] + 1, len(text.region)))
            try:
                text.commit([*fill, *other], eligible, len(block), final=ends and not {*masks} - {*fill})
            except EndedError:
                if text.stop in ("cap", "complete"):  # what the cap fills could have been edited
                    is_final = most == 0 or (ends and not behind)
                    text.stop = "complete" if is_final and not text.masked() else "cap"
                raise
            if ends and not text.masked(block):
                break


def decode_on_grid(
    network: Slow, size: int, prompt: list[int], region: list[int], options: dict[str, Any], ways: Any
) -> GridText:
    """A region filled by the loop of `options["sampler"]`, on a grid of `size` positions a block."""
    text = GridText(network, prompt, list(region), ways, size=size)
    with contextlib.suppress(EndedError):
        {"dus": dus, "edit": editing}.get(options["sampler"], filling)(text, options)
    return text
