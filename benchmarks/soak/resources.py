"""What this process holds of the machine, and how much of it may grow."""

import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from lm_eval_mdlm.backbones.graphs import MOST_GRAPHS, Recording


MIB = 2**20
PROC = Path("/proc")
PATHS_STAY = (3, 12) <= sys.version_info < (3, 12, 6)
"""Whether this Python keeps every part of every path for good (github.com/python/cpython/issues/121780)."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the process holds at one moment."""

    resident: int
    """Bytes."""
    blocks: int
    """Pieces of memory that Python's own allocator has given out: objects, and the tables of lists and sets."""
    open_files: int
    threads: int
    children: int
    """Processes that this one has started and that are there, dead ones that nobody has waited for among them."""
    allocated: int | None = None
    """Bytes of the GPU that tensors have; None without one."""
    reserved: int | None = None
    """Bytes of the GPU that torch has taken."""
    taken: int | None = None
    """Bytes of the GPU that are in use, by whatever: recorded passes also hold what torch does not count."""
    recorded: int = 0
    """Passes that are kept as recordings, of all networks; on a GPU only."""

    @classmethod
    def now(cls, device: torch.device) -> "Held":
        """Of this process, with all garbage collected."""
        gc.collect()
        of_gpu: dict[str, int] = {}
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            free, total = torch.cuda.mem_get_info(device)
            of_gpu = {"allocated": torch.cuda.memory_allocated(device), "taken": total - free}
            of_gpu["reserved"] = torch.cuda.memory_reserved(device)
            of_gpu["recorded"] = sum(type(thing) is Recording for thing in gc.get_objects())
        return cls(
            resident=int(_status("VmRSS").split()[0]) * 1024,
            blocks=sys.getallocatedblocks(),
            open_files=len(os.listdir("/proc/self/fd")) - 1,  # the listing has one of its own
            threads=int(_status("Threads")),
            children=children(),
            **of_gpu,
        )


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much more the process may hold after further requests.

    What is left by something that happens in every tenth request, or by 512 bytes of every request, is beyond them once
    there are some ten thousand; the fixed part is for caches that fill up and for what an allocator cannot give back.
    """

    resident: int = 32 * MIB
    resident_per_request: int = 512
    blocks: int = 5000
    blocks_per_request: float = 1.1 if PATHS_STAY else 0.1
    """Journals and recordings have files of new names, at most one for each request."""
    allocated: int = 64 * MIB
    """Keys and values are kept in memory that grows with the most that rows have ever held at one time."""
    taken: int = 64 * MIB
    per_recorded: int = MIB // 2
    """Of the memory of a GPU and of the host, for every further pass that is recorded."""
    blocks_per_recorded: int = 16
    recorded: int = MOST_GRAPHS
    """Recorded passes in all; a network keeps no more than that."""

    def exceeded(self, before: Held, after: Held, requests: int) -> list[str]:
        """A line for everything that has grown by more than it may."""
        recorded = max(0, after.recorded - before.recorded)
        taken = self.taken + recorded * self.per_recorded
        limits: dict[str, float] = {
            "resident": self.resident + requests * self.resident_per_request + recorded * self.per_recorded,
            "blocks": self.blocks + requests * self.blocks_per_request + recorded * self.blocks_per_recorded,
            **dict.fromkeys(("open_files", "threads", "children"), 0),
            "allocated": self.allocated,
            **dict.fromkeys(("reserved", "taken"), taken),
        }
        grown = {name: (getattr(after, name) or 0) - (getattr(before, name) or 0) for name in limits}
        found = [
            f"{name} grew by {grown[name]:,} over {requests:,} requests, and may by {limit:,.0f}"
            for name, limit in limits.items()
            if grown[name] > limit
        ]
        if after.recorded > self.recorded:
            found.append(f"recorded passes are {after.recorded:,}, and may be {self.recorded:,}")
        return found


def _status(name: str) -> str:
    lines = (PROC / "self/status").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}:")).partition(":")[2].strip()


def children() -> int:
    """Of this process. Counted over all processes, since not every kernel lists those of one."""
    found = 0
    for status in PROC.glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        found += int(after_name[1]) == os.getpid()
    return found
