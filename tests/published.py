"""The published loops of samplers, one text at a time, in plain Python, each as its source's own loops run.

A rule asks for a pass and commits positions; the text it works on ends it by an exception. Written from
docs/semantics.md and its sources, for reading; it shares no code with the package but what draws random numbers.
"""

import contextlib
import math
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.slow import SCORES, Slow, chosen, entropy


class EndedError(Exception):
    """No further pass is run."""


@dataclass
class Ways:
    """All that is not the sampler's."""

    ends: Collection[int] = ()
    answer: Collection[int] = ()
    """Positions of answer segments."""
    exit_threshold: float | None = None
    max_nfe: int | None = None
    stop_when_settled: bool = False
    defer_end_of_text: bool = False
    min_distance: float | None = None
    draw: Callable[[int, int, Sequence[float]], int] | None = None
    """From step, position and log-probabilities to a token; None for the likeliest."""


@dataclass
class Text:
    """A region, and how it has been filled so far."""

    network: Slow
    prompt: list[int]
    region: list[int]
    ways: Ways
    steps: int = 0
    stop: str = "complete"
    exit_step: int | None = None
    committed_in: dict[int, int] = field(default_factory=dict)
    pauses: int = 0
    """Passes that changed nothing."""
    log_prob: float = 0.0
    """Of what was filled in, each token in its pass; nats."""

    def __post_init__(self) -> None:
        self.free = self.masked()
        self.cost = 2 if self.network.cfg_scale else 1

    def masked(self, among: Collection[int] | None = None) -> list[int]:
        return [i for i, t in enumerate(self.region) if t == self.network.mask and (among is None or i in among)]

    def cut(self, size: int) -> list[list[int]]:
        return [list(range(len(self.region)))[a : a + size] for a in range(0, len(self.region), size)]

    def distributions(self) -> list[list[float]]:
        return self.network.log_probs(self.prompt, self.region)

    def read(self) -> None:
        """A pass."""
        self.rows = self.distributions()
        self.likeliest = [row.index(max(row)) for row in self.rows]
        draw = self.ways.draw
        self.proposed = {
            i: self.likeliest[i] if draw is None else draw(self.steps, i, self.rows[i]) for i in self.masked()
        }
        self.steps += 1

    def confidence(self, i: int) -> float:
        return math.exp(max(self.rows[i]))

    def by_confidence(self, among: Collection[int]) -> list[int]:
        return sorted(sorted(among), key=lambda i: -self.confidence(i))

    def eligible(self, among: Collection[int]) -> list[int]:
        own = self.masked(among)
        others = [i for i in own if self.proposed[i] not in self.ways.ends]
        return others if self.ways.defer_end_of_text and others else own

    def over(self, threshold: float, own: list[int]) -> list[int]:
        """The rule of confidence_threshold."""
        return [i for i in own if self.confidence(i) >= threshold] or self.by_confidence(own)[:1]

    def commit(
        self,
        wanted: Collection[int],
        own: Collection[int],
        span: int,
        key: Callable[[int], float] | None = None,
        back: Collection[int] = (),
        final: bool = True,
    ) -> None:
        """Carry out what a pass decides, or end.

        Args:
            wanted: Positions to fill.
            own: Eligible positions.
            span: Length of the block.
            key: Order of the filter of distances; most confident first if unset.
            back: Positions that become masks.
            final: Whether what is committed will stay.
        """
        answer = self.masked(self.ways.answer)
        watched = self.ways.answer and self.ways.exit_threshold is not None
        if watched and math.fsum(entropy(self.rows[i]) for i in answer) < self.ways.exit_threshold:
            self._fill(answer)
            self.exit_step, self.stop = self.steps, "exit"
            raise EndedError
        kept = self._apart(sorted(wanted, key=lambda i: ((key or (lambda j: -self.confidence(j)))(i), i)), own, span)
        most = self.ways.max_nfe
        if most is not None and (self.steps + 1) * self.cost > most:
            self._fill({*kept, *answer})
            self.stop = "cap" if self.masked() or not final else "complete"
            raise EndedError
        self._fill(kept)
        for i in back:
            self.region[i] = self.network.mask
            self.committed_in.pop(i)
        self.pauses += not (kept or back)
        if self.ways.stop_when_settled and final and self._is_settled():
            self.stop = "settled" if self.masked() else "complete"
            raise EndedError

    def _fill(self, positions: Collection[int]) -> None:
        for i in positions:
            self.region[i] = self.proposed[i]
            self.log_prob += self.rows[i][self.region[i]]
            self.committed_in[i] = self.steps

    def _apart(self, best_first: list[int], own: Collection[int], span: int) -> list[int]:
        if self.ways.min_distance is None:
            return best_first
        gap, kept = max(2, math.floor(len(own) * self.ways.min_distance / span)), []
        for i in best_first:
            if not any(abs(i - j) < gap for j in kept):
                kept.append(i)
        return kept

    def _is_settled(self) -> bool:
        first = next((i for i, token in enumerate(self.region) if token in self.ways.ends), None)
        return first is not None and not self.masked(range(first))


def blocks_of(text: Text, o: dict[str, Any]) -> list[list[int]]:
    """Of docs/semantics.md section 3, as positions, fixed text included."""
    return [block for block in text.cut(o.get("block_length", 32)) if text.masked(block)]


def plain(text: Text, o: dict[str, Any]) -> None:
    """The samplers of `tests.slow`, and `score=pc`."""
    blocks = blocks_of(text, o)
    for block in blocks:
        held, step = len(text.masked(block)), 0
        while text.masked(block):
            text.read()
            own = text.eligible(block)
            if o.get("score") == "pc":
                key = lambda i, block=block: -pc_score(text, o, i, i - block[0])  # noqa: E731
                picked = sorted(own, key=key)[: quota(o, held, step, len(blocks))]
            else:
                key = lambda i: order_of(o)(text.rows[i])  # noqa: E731
                picked = chosen(o, {i: text.rows[i] for i in own}, step, held, len(blocks))
            text.commit(picked, own, len(block), key)
            step += 1


def quota(o: dict[str, Any], held: int, step: int, num_blocks: int) -> int:
    if "steps" not in o:
        return o.get("k", 1)
    steps = o["steps"] // num_blocks
    return held // steps + (step < held % steps)


def order_of(o: dict[str, Any]) -> Callable[[Sequence[float]], float]:
    named = {"med": "entropy", "entropy_bound": "entropy", "fixed_k": o.get("score", "entropy")}
    return SCORES[named.get(o["sampler"], "confidence")]


def pc_score(text: Text, o: dict[str, Any], i: int, index: int) -> float:
    counts = o["counts"]
    frequency = counts.get(text.likeliest[i], 1) / sum(counts.values())
    calibrated = min(-text.confidence(i) * math.log(frequency + 1e-9), o.get("pc_alpha", 10.0))
    return math.exp(-o.get("pc_lambda", 0.25) * index) * calibrated


def slow_fast(text: Text, o: dict[str, Any]) -> None:
    window, span = o.get("stable_window", 2), len(text.region)
    start = 0
    while text.masked():
        seen: list[int] = []
        while text.masked():
            text.read()
            own = text.eligible(range(start, span))
            sees = [i for i in own if text.confidence(i) > o.get("slow_threshold", 0.1)]
            seen.append(max(sees, default=min(own)))
            text.commit(text.by_confidence(own)[:1], own, span)
            last = seen[-window:]
            if len(last) == window and statistics.pvariance(last) < o.get("stable_variance", 1.0):
                break
            if len(seen) == o.get("max_slow_steps", 8):
                break
        end = math.floor(statistics.fmean(last))
        while text.masked(range(start, end + 1)):
            text.read()
            own = text.eligible(range(start, end + 1))
            sure = [i for i in own if text.confidence(i) > o.get("confidence_threshold", 0.85)]
            text.commit(sure or text.by_confidence(own)[:1], own, span)
        start = end


def ada_block(text: Text, o: dict[str, Any]) -> None:
    span, width = len(text.region), int(0.25 * len(text.free))
    while text.masked():
        start, end = min(text.masked()), None
        while end is None or text.masked(range(start, end)):
            text.read()
            if end is None:
                ending = [
                    i for i in text.masked(range(start, start + width)) if text.likeliest[i] in o["delimiter_ids"]
                ]
                end = start + o.get("block_length", 32)
                if ending and text.confidence(best := text.by_confidence(ending)[0]) >= o.get(
                    "delimiter_threshold", 0.3
                ):
                    end = best + 1
            own = text.eligible(range(start, end))
            text.commit(text.over(o.get("confidence_threshold", 0.9), own), own, span)


def sliding_block(text: Text, o: dict[str, Any]) -> None:
    while text.masked():
        text.read()
        committed = len(text.free) - len(text.masked())
        window = text.masked(text.free[: o.get("block_length", 32) + committed])
        if "max_block_length" in o:
            window = [i for i in window if i < window[0] + o["max_block_length"]]
        own = text.eligible(window)
        text.commit(text.over(o.get("confidence_threshold", 0.9), own), own, len(text.region))


def dilated(length: int, skip: int) -> list[list[int]]:
    """Levels of a block's offsets."""
    levels, revealed, stride = [], set(), length // 2**skip
    while stride >= 1:
        level = [i for i in range(length) if i % stride == 0 and i not in revealed]
        revealed |= set(level)
        levels += [level] if level else []
        stride //= 2
    rest = [i for i in range(length) if i not in revealed]
    levels += [rest] if rest else []
    if len(levels) >= 2 and len(levels[-1]) < len(levels[-2]):
        last = levels.pop()
        levels[-1] += last
    return levels


def dus(text: Text, o: dict[str, Any]) -> None:
    for block in blocks_of(text, o):
        levels = [[block[0] + i for i in level] for level in dilated(len(block), o.get("skip", 1))]
        levels = [level for level in levels if text.masked(level)]
        for level in levels[:-1]:
            text.read()
            own = text.eligible(level)
            sure = [i for i in own if not text.confidence(i) < o.get("remask_below", 0.3)]
            text.commit(sure, own, len(block))
        while text.masked(block):
            text.read()
            own = text.eligible(block)
            text.commit(own, own, len(block))


def remdm(text: Text, o: dict[str, Any]) -> None:
    span, loops = len(text.region), o.get("remdm_loops", 32)
    taken = 0

    def one() -> None:
        text.read()
        own = text.eligible(text.masked())
        text.commit(text.by_confidence(own)[:1], own, span, final=taken == loops)

    for _ in range(max(1, int(o.get("remdm_share", 0.875) * len(text.free)))):
        one()
    for _ in range(loops):
        text.read()
        revealed = [i for i in text.free if text.region[i] != text.network.mask]
        taken += 1
        text.commit(
            (), (), span, back=[min(revealed, key=lambda i: text.rows[i][text.region[i]])], final=taken == loops
        )
        one()
    while text.masked():
        one()


RULES = {"slow_fast": slow_fast, "ada_block": ada_block, "sliding_block": sliding_block, "dus": dus, "remdm": remdm}


def decode(network: Slow, prompt: list[int], region: list[int], options: dict[str, Any], ways: Ways) -> Text:
    """A region filled by the loop of `options["sampler"]`."""
    text = Text(network, prompt, list(region), ways)
    with contextlib.suppress(EndedError):
        RULES.get(options["sampler"], plain)(text, options)
    return text
