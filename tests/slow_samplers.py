"""Samplers with a memory, and everything that ends a row, read aloud: docs/semantics.md 2 to 6, in plain Python.

One row at a time, with lists and dictionaries, in double precision; only random numbers come from the package.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from lm_eval_mdlm.decoding.proposal import RowKey
from tests.slow import Decoded, Slow, chosen, entropy, margin


Rows = dict[int, list[float]]
"""Log-probabilities of every token, by position."""


def normalised(row: Sequence[float]) -> list[float]:
    top = max(row)
    total = top + math.log(math.fsum(math.exp(x - top) for x in row))
    return [x - total for x in row]


def likeliest(row: Sequence[float]) -> int:
    return row.index(max(row))


@dataclass
class Rule:
    """A sampler without a memory; `see` gives the distributions that everything is read from."""

    options: Mapping[str, Any]

    def open(self) -> None:
        """A block begins."""

    def see(self, rows: Rows) -> Rows:
        return rows

    def pick(self, rows: Rows, step: int, block_masks: int, num_blocks: int) -> list[int]:
        return chosen(self.options, rows, step, block_masks, num_blocks)

    def sure(self, rows: Rows, name: str = "confidence_threshold", default: float = 0.9) -> list[int]:
        return [i for i in rows if math.exp(max(rows[i])) >= self.options.get(name, default)]

    def surest(self, rows: Rows) -> list[int]:
        return sorted(rows, key=lambda i: -max(rows[i]))[:1]


@dataclass
class LocalLeapRule(Rule):
    def pick(self, rows: Rows, *_: int) -> list[int]:
        anchors = self.sure(rows)
        reach = self.options.get("radius", 4)
        near = [i for i in rows if any(abs(i - anchor) <= reach for anchor in anchors)]
        return [i for i in rows if i in anchors or (i in near and i in self.sure(rows, "relaxed_threshold", 0.75))] or (
            self.surest(rows)
        )


@dataclass
class KlassRule(Rule):
    before: Rows = field(default_factory=dict)
    moves: dict[int, list[float]] = field(default_factory=dict)

    def open(self) -> None:
        self.before, self.moves = {}, {}

    def see(self, rows: Rows) -> Rows:
        for i, row in rows.items():
            if i in self.before:
                pairs = zip(row, self.before[i], strict=True)
                self.moves.setdefault(i, []).append(math.fsum(math.exp(p) * (p - q) for p, q in pairs if p > -math.inf))
        self.before = rows
        return rows

    def pick(self, rows: Rows, *_: int) -> list[int]:
        history, bound = self.options.get("history", 2), self.options.get("kl_threshold", 0.01)
        last = {i: self.moves.get(i, [])[-history:] for i in rows}
        ready = [
            i
            for i in rows
            if math.exp(max(rows[i])) > self.options.get("confidence_threshold", 0.9)
            and len(last[i]) == history
            and all(move < bound for move in last[i])
        ]
        return ready or self.surest(rows)


@dataclass
class CreditRule(Rule):
    table: Rows = field(default_factory=dict)

    def open(self) -> None:
        self.table = {}

    def see(self, rows: Rows) -> Rows:
        get = self.options.get
        seen = {}
        for i, row in rows.items():
            credits = [get("credit_decay", 0.8) * c for c in self.table.get(i, [0.0] * len(row))]
            credits[likeliest(row)] += math.exp(max(row)) ** get("credit_exponent", 0.2)
            self.table[i] = credits
            gains = [get("credit_strength", 0.7) * math.log(1 + c) for c in credits]
            seen[i] = normalised([x + gain for x, gain in zip(row, gains, strict=True)])
        return seen

    def pick(self, rows: Rows, *_: int) -> list[int]:
        return self.sure(rows) or self.surest(rows)


RULES = {"klass": KlassRule, "credit": CreditRule, "local_leap": LocalLeapRule}


@dataclass
class Request:
    """A row: its prompt, its region with masks and given tokens, and where the answer and all segments are."""

    prompt: list[int]
    region: list[int]
    answer: list[int]
    segments: list[list[int]]
    ends: tuple[int, ...]
    options: Mapping[str, Any]
    key: RowKey
    given: Sequence[int] | None = None
    """Tokens that are committed instead of the proposed ones."""


@dataclass
class Outcome:
    tokens: list[int]
    passes: int = 0
    exit_step: int | None = None
    answer_entropy: float | None = None
    commit_steps: list[int | None] = field(default_factory=list)
    log_prob: float = 0.0
    """Of the tokens, each in the pass that committed it."""
    proposed: bool = True
    """Whether all of them were the likeliest ones."""


def settled(row: Request, mask: int) -> bool:
    def is_settled(segment: list[int]) -> bool:
        tokens = [row.region[i] for i in segment]
        ends = [n for n, token in enumerate(tokens) if token in row.ends]
        return mask not in (tokens[: ends[0]] if ends else tokens)

    return all(map(is_settled, row.segments))


def token_of(row: Request, distribution: Sequence[float], step: int, position: int) -> int:
    temperature = row.options.get("temperature", 0.0)
    if not temperature:
        return likeliest(distribution)
    seed = row.key.seed("token", step, position)
    uniform = np.random.Generator(np.random.Philox(key=seed)).random(len(distribution))
    return likeliest([x / temperature - math.log(-math.log(u)) for x, u in zip(distribution, uniform, strict=True)])


def decode_row(network: Slow, row: Request) -> Outcome:
    """Every pass of a row; changes its region."""
    mask, out, options = network.mask, Outcome(row.region), row.options
    out.commit_steps = [None] * len(row.region)
    size = options.get("block_length", 32)
    masks = [i for i, token in enumerate(row.region) if token == mask]
    blocks = [own for n in range(len(row.region)) if (own := [i for i in masks if i // size == n])]
    is_dream = options["sampler"] == "dream"
    rule = DreamRule(row, masks) if is_dream else RULES.get(options["sampler"], Rule)(options)
    for block in [masks] if is_dream else blocks:
        rule.open()
        step = 0
        while left := [i for i in block if row.region[i] == mask]:
            if options.get("stop_when_settled") and settled(row, mask):
                return out
            read = network.log_probs(row.prompt, row.region)
            seen = rule.see({i: read[i] for i in left})
            picks = rule.pick(seen, step, len(block), len(blocks))
            watched = {i: seen.get(i, read[i]) for i in row.answer if row.region[i] == mask}
            if row.answer and not all(row.region[i] != mask and out.commit_steps[i] is None for i in row.answer):
                out.answer_entropy = math.fsum(entropy(own) for own in watched.values())
                if out.answer_entropy < options.get("exit_threshold", -1.0):
                    picks, out.exit_step = list(watched), out.passes + 1
            tokens = {i: token_of(row, seen.get(i, read[i]), out.passes, i) for i in picks}
            if is_dream:
                tokens = {i: rule.tokens[i] for i in picks}
            out.passes += 1
            for i, token in tokens.items() if row.given is None else [(i, row.given[i]) for i in picks]:
                out.log_prob += read[i][token]
                out.proposed &= token == likeliest(read[i])
                row.region[i], out.commit_steps[i] = token, out.passes
            step += 1
            if out.exit_step:
                return out
    return out


@dataclass
class DreamRule:
    row: Request
    masks: list[int]
    tokens: dict[int, int] = field(default_factory=dict)
    confidence: dict[int, float] = field(default_factory=dict)
    noise: list[float] = field(default_factory=list)
    passes: int = 0

    def open(self) -> None:
        """There are no blocks."""

    def see(self, rows: Rows) -> Rows:
        get = self.row.options.get
        for i, row in rows.items():
            shaped = self.shaped([x / (get("temperature") or 1.0) for x in row])
            seed = self.row.key.seed("token", self.passes, i)
            uniform = np.random.Generator(np.random.Philox(key=seed)).random(len(row))
            keys = [x - math.log(-math.log(u)) for x, u in zip(shaped, uniform, strict=True)]
            self.tokens[i] = likeliest(keys if get("temperature") else shaped)
            shares = [math.exp(x) for x in shaped]
            self.confidence[i] = {
                "origin": 0.0,
                "maskgit_plus": shares[self.tokens[i]],
                "topk_margin": margin(shaped),
                "entropy": math.fsum(p * math.log(p + 1e-10) for p in shares),
            }[get("alg", "entropy")]
        self.noise = self.row.key.order_noise(self.passes, len(self.row.region)).tolist()
        self.passes += 1
        return rows

    def shaped(self, row: list[float]) -> list[float]:
        get = self.row.options.get
        order = sorted(range(len(row)), key=lambda v: -row[v])
        kept = set(order)
        if get("top_p"):
            shares = [math.exp(x) for x in normalised(row)]
            kept = {v for n, v in enumerate(order) if n == 0 or math.fsum(shares[w] for w in order[:n]) <= get("top_p")}
        if get("top_k"):
            kept &= set(order[: get("top_k")])
        return normalised([x if v in kept else -math.inf for v, x in enumerate(row)])

    def pick(self, rows: Rows, step: int, *_: int) -> list[int]:
        get = self.row.options.get
        steps = get("steps") or len(self.masks)
        times = torch.linspace(1, 1e-3, steps + 1)
        share = 1 - times[step + 1] / times[step] if step < steps - 1 else torch.tensor(1.0)
        if get("alg") == "origin":
            return [i for i in rows if self.noise[i] < share]
        return sorted(rows, key=self.order)[: int(torch.tensor(float(len(rows))) * share)]

    def order(self, i: int) -> float:
        """Lower is sooner."""
        if self.row.options.get("alg") == "origin":
            return self.noise[i]
        if temperature := self.row.options.get("alg_temp"):
            return -(self.confidence[i] / temperature - math.log(-math.log(self.noise[i] or 1e-300)))
        return -self.confidence[i]


class SlowWithMemory(Slow):
    """`Slow` that also knows the samplers of this file."""

    def decode(
        self, prompt: Sequence[int], length: int, options: Mapping[str, Any], given: Sequence[int] | None = None
    ) -> Decoded:
        if options["sampler"] not in {*RULES, "dream"}:
            return super().decode(prompt, length, options, given)
        key = RowKey.of(0, prompt, [self.mask] * length, 0)
        row = Request(list(prompt), [self.mask] * length, [], [list(range(length))], (), options, key, given)
        out = decode_row(self, row)
        cost = 2 if self.cfg_scale else 1
        steps = [cost * (step or 0) for step in out.commit_steps]
        return Decoded(out.tokens, out.log_prob, cost * out.passes, out.proposed, steps)
