"""What is measured, and the processes that share it."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import torch
from tqdm import tqdm

from benchmarks.laboratory.joint import Joint, chain, copies
from benchmarks.laboratory.measures import Line, Sizes, estimated, listed, noise_floor
from benchmarks.laboratory.settings import GRIDS, Grid, Options, named


@dataclass(frozen=True)
class Bench:
    """A joint, and how samplers are measured on it."""

    joint: Joint
    measure: Callable[[Joint, Grid, Options, Sizes], Line]
    beside: Line
    """The same for all samplers."""


def benches(seed: int, short: int, long: int, sizes: Sizes) -> Iterator[Bench]:
    """Both joints, with texts that can be listed and with long ones."""
    for make in (chain, copies):
        joint = make(vocab_size=3, length=short, seed=seed)
        floor = noise_floor(joint, sizes.samples)
        beside: Line = {f"{name} of exact samples": value for name, value in floor.items()}
        yield Bench(replace(joint, name=f"{joint.name} of {short}"), listed, beside)
        joint = make(vocab_size=5, length=long, seed=seed)
        yield Bench(replace(joint, name=f"{joint.name} of {long}"), estimated, {})


def measured(bench: Bench, sampler: str, sizes: Sizes, threads: int | None) -> list[Line]:
    """Every setting of one sampler, on as many threads of torch."""
    if threads:
        torch.set_num_threads(threads)
    lines = []
    for options in GRIDS[sampler].settings:
        told = {"joint": bench.joint.name, "sampler": sampler, "setting": named(options)}
        lines.append({**told, **bench.measure(bench.joint, GRIDS[sampler], options, sizes), **bench.beside})
    return lines


def all_measured(
    of: Sequence[Bench], samplers: Sequence[str], sizes: Sizes, *, threads: int | None, processes: int
) -> list[list[Line]]:
    """For each bench every setting of the samplers in turn; which process measures what changes no figure."""
    tasks = [(bench, sampler, sizes, threads) for bench in of for sampler in samplers]
    found = [lines for lines in tqdm(_answers(tasks, processes), desc="laboratory", total=len(tasks))]
    by_bench = [found[start : start + len(samplers)] for start in range(0, len(found), len(samplers))]
    return [[line for lines in own for line in lines] for own in by_bench]


def _answers(tasks: Sequence[tuple[Bench, str, Sizes, int | None]], processes: int) -> Iterator[list[Line]]:
    if processes == 1:
        yield from (measured(*task) for task in tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(measured, *zip(*tasks, strict=True))
