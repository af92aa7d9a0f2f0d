"""The loops that LLaDA2.0, LLaDA2.1 and SDAR publish, on lists of integers, each as its own source runs it.

Written from notes on their public code, and sharing nothing with the package. A network is a function from a canvas to
rows of log-probabilities; canvases end with the current block. Where a source ranks positions by the token that it
sampled, so do these.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


Rows = Callable[[Sequence[int]], list[list[float]]]
Draw = Callable[[int, int, Sequence[float]], int]
"""From the pass's number, the position on the canvas and its log-probabilities to a token."""


@dataclass
class Published:
    """What a loop leaves."""

    tokens: list[int]
    passes: int


def likeliest(step: int, position: int, row: Sequence[float]) -> int:
    return row.index(max(row))


def shares(size: int, steps: int) -> list[int]:
    """How many positions each pass of a block is to fill, the remainder first."""
    return [size // steps + (step < size % steps) for step in range(steps)]


def llada20(
    network: Rows,
    prompt: list[int],
    length: int,
    *,
    size: int,
    mask: int,
    threshold: float = 0.95,
    steps: int = 32,
    end: int | None = None,
    draw: Draw = likeliest,
) -> Published:
    """LLaDA2.0: what is more confident than the threshold, or the pass's share of the best; at most `steps` passes.

    It ends after a block that holds an end of text.
    """
    total = -(-(len(prompt) + length) // size) * size
    x, passes = [*prompt, *[mask] * (total - len(prompt))], 0
    for start in range(len(prompt) // size * size, total, size):
        for share in shares(size, steps):
            inside = [i for i in range(start, start + size) if x[i] == mask]
            if not inside:
                break
            rows = network(x[: start + size])
            token = {i: draw(passes, i, rows[i]) for i in inside}
            confidence = {i: math.exp(rows[i][token[i]]) for i in inside}
            sure = [i for i in inside if confidence[i] > threshold]
            if len(sure) < share:
                sure = sorted(inside, key=lambda i: -confidence[i])[:share]
            passes += 1
            for i in sure:
                x[i] = token[i]
        if end is not None and end in x[max(start, len(prompt)) : start + size]:
            break
    return Published(x[len(prompt) : len(prompt) + length], passes)


def llada21(
    network: Rows,
    prompt: list[int],
    length: int,
    *,
    size: int,
    mask: int,
    threshold: float,
    editing_threshold: float,
    max_post_steps: int = 16,
) -> Published:
    """LLaDA2.1: filling as in LLaDA2.0, and in the same pass every token of the block that is no longer the likeliest.

    A block ends once a pass that finds no mask edits nothing, or after `max_post_steps` passes that find none.
    """
    total = -(-(len(prompt) + length) // size) * size
    x, passes = [*prompt, *[mask] * (total - len(prompt))], 0
    for start in range(len(prompt) // size * size, total, size):
        post = 0
        while True:
            old = x[start : start + size]
            is_masked = [token == mask for token in old]
            if not any(is_masked):
                post += 1
                if post > max_post_steps:
                    break
            rows = network(x[: start + size])[start:]
            best = [row.index(max(row)) for row in rows]
            p = [math.exp(max(row)) for row in rows]
            m2t = [hidden and p[j] > threshold for j, hidden in enumerate(is_masked)]
            if any(is_masked) and not any(m2t):
                m2t[max((j for j, hidden in enumerate(is_masked) if hidden), key=lambda j: (p[j], -j))] = True
            t2t = [
                start + j >= len(prompt) and not hidden and best[j] != old[j] and p[j] > editing_threshold
                for j, hidden in enumerate(is_masked)
            ]
            passes += 1
            for j in range(size):
                if m2t[j] or t2t[j]:
                    x[start + j] = best[j]
            if not any(is_masked) and not any(t2t):
                break
    return Published(x[len(prompt) : len(prompt) + length], passes)


def sdar(
    network: Rows,
    prompt: list[int],
    length: int,
    *,
    size: int,
    mask: int,
    strategy: str,
    denoising_steps: int,
    threshold: float = 0.85,
    stop: int | None = None,
    draw: Draw = likeliest,
) -> Published:
    """SDAR's block diffusion; passes that only store keys and values are not counted.

    A share never exceeds the masks that are left, which the source's top-k does not see to.
    """
    num_blocks = -(-(len(prompt) + length) // size)
    x, passes = [*prompt, *[mask] * (num_blocks * size - len(prompt))], 0
    for block in range(len(prompt) // size, num_blocks):
        places = range(block * size, (block + 1) * size)
        for share in shares(size, denoising_steps):
            inside = [i for i in places if x[i] == mask]
            if not inside:
                break
            rows = network(x[: places[-1] + 1])
            token = {i: draw(passes, i, rows[i]) for i in inside}
            confidence = {i: math.exp(rows[i][token[i]]) for i in inside}
            best = sorted(inside, key=lambda i: -confidence[i])[:share]
            if strategy == "low_confidence_dynamic":
                sure = [i for i in inside if confidence[i] > threshold]
                best = sure if len(sure) >= share else best
            elif strategy == "sequential":
                best = inside[:share]
            passes += 1
            for i in best:
                x[i] = token[i]
        if stop is not None and stop in x[len(prompt) : places[-1] + 1]:
            break
    return Published(x[len(prompt) : len(prompt) + length], passes)
