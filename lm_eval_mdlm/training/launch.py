"""The processes of a run: how many a launcher started, which one this is, and agreeing on what the first one saw."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

from ..errors import UsageError
from ..running.launched import Launched, number_of_processes
from ..running.liveness import watch_processes


T = TypeVar("T")
HOW_TO_LAUNCH = "torchrun --nproc-per-node NUMBER -m lm_eval_mdlm finetune ..."


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a launcher such as torchrun has set up; one process without one."""

    num_processes: int
    process: int
    """From 0."""

    @classmethod
    def current(cls) -> "Launch":
        """As the environment has it."""
        if number_of_processes() == 1:
            return cls(num_processes=1, process=0)
        launched = Launched.of_environment()
        return cls(num_processes=launched.world_size, process=launched.rank)

    @property
    def is_first(self) -> bool:
        """Whether this process reads and writes for all of them."""
        return self.process == 0

    def agree(self, look: Callable[[], T]) -> T:
        """What `look` returns or raises in the first process, in all of them; the process group must be set up.

        Files are looked at once: a process that arrives late would see what the first one has written by then.
        """
        if self.num_processes == 1:
            return look()
        found: list[Any] = [None, None]
        if self.is_first:
            try:
                found[0] = look()
            except UsageError as error:
                found[1] = str(error)
        distributed.broadcast_object_list(found, src=0)
        if found[1] is not None:
            raise UsageError(found[1])
        agreed: T = found[0]
        return agreed

    @contextmanager
    def forming(self) -> Iterator[None]:
        """In the block the process group is set up and first used; from now on a process that is gone ends the others.

        One that does not come, too.
        """
        if self.num_processes == 1:
            yield
        else:
            with watch_processes().forming():
                yield

    def wait_for_all(self) -> None:
        """Returns once every process is here."""
        if self.num_processes > 1:
            distributed.barrier()


def end_processes() -> None:
    """Ends what the launcher's processes talk through; torch complains if it is left open."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def warning_of_idle_gpus(launch: Launch, *, cpu: bool) -> str | None:
    """One line if several GPUs are there and no launcher was used; else None."""
    visible = 0 if cpu or not torch.cuda.is_available() else torch.cuda.device_count()
    if launch.num_processes > 1 or visible < 2:
        return None
    return f"{visible} GPUs are visible and one is used; {HOW_TO_LAUNCH.replace('NUMBER', str(visible))} uses all."
