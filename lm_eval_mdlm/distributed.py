"""Data parallelism under `accelerate launch` and `torchrun`: every process decodes its own share of the documents."""

import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor


class ProcessGroup:
    """The processes of a run; a single one outside a launcher."""

    def __init__(self) -> None:
        self.accelerator: Accelerator | None = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # Early exits let processes finish hours apart, so the usual half hour of patience ends good runs.
            patience = InitProcessGroupKwargs(timeout=timedelta(weeks=52))
            self.accelerator = Accelerator(kwargs_handlers=[patience])

    @property
    def rank(self) -> int:
        """Index of this process over all machines."""
        return self.accelerator.process_index if self.accelerator else 0

    @property
    def world_size(self) -> int:
        """Number of processes over all machines."""
        return self.accelerator.num_processes if self.accelerator else 1

    def device(self, asked_for: str | None) -> str | None:
        """The device of this process: its own one of several, or the one asked for."""
        return str(self.accelerator.device) if self.accelerator else asked_for

    def all_gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, one after the other."""
        gathered: Tensor = self.accelerator.gather(tensor) if self.accelerator else tensor
        return gathered

    def gather_object(self, obj: Any, dst: int) -> list[Any] | None:
        """The objects of all processes on process `dst`, None on the others."""
        if self.accelerator is None:
            return [obj]
        parts: list[Any] | None = [None] * self.world_size if self.rank == dst else None
        torch.distributed.gather_object(obj, parts, dst=dst)
        return parts

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.accelerator:
            self.accelerator.wait_for_everyone()
