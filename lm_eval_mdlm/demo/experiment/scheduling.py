"""Runs the parts of all bases in processes, several side by side, each as soon as what it needs is there."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError
from .parts import BASE, PARTS


@dataclass(frozen=True)
class Task:
    """A part of one base."""

    seed: int
    part: str


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Where and how parts run."""

    out: Path
    command: Sequence[str]
    """Of a process, less the seed and the part."""
    parallel: int
    """At most so many at a time."""
    devices: Sequence[str] = ()
    """Numbers of the GPUs to spread them over; none for whatever a process takes by itself."""

    def run(self, seeds: Sequence[int]) -> None:
        """All parts of all bases; UsageError once the others have ended if some of them failed."""
        waiting = [Task(seed, BASE) for seed in seeds]
        running: dict[Task, tuple[str, subprocess.Popen[bytes]]] = {}
        failed: list[Task] = []
        while waiting or running:
            while waiting and len(running) < self.parallel:
                task, device = waiting.pop(0), self._freest([own for own, _ in running.values()])
                running[task] = (device, self._started(task, device))
            time.sleep(0.1)
            for task in [task for task, (_, process) in running.items() if process.poll() is not None]:
                _, process = running.pop(task)
                if process.returncode:
                    failed.append(task)
                elif task.part == BASE:
                    waiting += [Task(task.seed, part) for part in PARTS if part != BASE]
                print(f"base {task.seed}, {task.part}: {'failed' if process.returncode else 'done'}", flush=True)
        if failed:
            logs = ", ".join(str(self._log(task)) for task in failed)
            raise UsageError(f"{len(failed)} parts failed; see {logs}, and run the same again.")

    def _freest(self, taken: Sequence[str]) -> str:
        counts = Counter(taken)
        return min(self.devices, key=lambda device: counts[device], default="")

    def _log(self, task: Task) -> Path:
        return folder_of(self.out, task.seed) / f"{task.part}.log"

    def _started(self, task: Task, device: str) -> "subprocess.Popen[bytes]":
        folder_of(self.out, task.seed).mkdir(parents=True, exist_ok=True)
        # Without the first, sums of matrix products differ from run to run; with more threads, processes that run
        # side by side wait for each other.
        environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_NUM_THREADS": "1"}
        if device:
            environment["CUDA_VISIBLE_DEVICES"] = device
        words = [sys.executable, "-m", str(__package__), *self.command, "--seed", str(task.seed), "--part", task.part]
        with self._log(task).open("ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)


def folder_of(out: Path, seed: int) -> Path:
    """Of one base."""
    return out / f"base-{seed}"
