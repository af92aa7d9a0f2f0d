"""The processes of a run under `accelerate launch` or `torchrun`, and how they talk to each other."""

import contextlib
import itertools
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor

from ..errors import UsageError
from .launched import number_of_processes
from .liveness import Liveness, is_broken_connection, watch_processes


Result = TypeVar("Result")

_numbers = itertools.count()
"""Sets of counters made so far; the same in all processes, because making one is collective."""


class Counters(Protocol):
    """Named counters that begin at 0 and that all processes share."""

    def add(self, name: str, amount: int, /) -> int:
        """Add to one of them, whatever the others do meanwhile; its new value."""


class _OwnCounters:
    """Those of a single process."""

    def __init__(self) -> None:
        self._values: Counter[str] = Counter()

    def add(self, name: str, amount: int, /) -> int:
        self._values[name] += amount
        return self._values[name]


class ProcessGroup:
    """The processes of a launcher; a single one outside a launcher, or if `alone`.

    Every method but `device` is collective: all processes call it, in the same order. If one of several is killed or
    stands still, the others end within a minute, and within five if it does not come at all (`liveness`).
    """

    def __init__(self, *, alone: bool = False) -> None:
        self.accelerator: Accelerator | None = None
        self._store: Any = None
        self._name = ""
        """Of this group alone: a launcher that starts processes anew gives them the store of those before them."""
        self._raised: BaseException | None = None
        self._liveness: Liveness | None = None
        if not alone and (launched := number_of_processes()) > 1:
            from torch.distributed.rendezvous import rendezvous  # not in every build of torch

            self._liveness = watch_processes()
            with self._liveness.forming():
                # Between two exchanges lies a whole run, so the usual half hour of patience ends good ones.
                patience = InitProcessGroupKwargs(timeout=timedelta(weeks=52))
                self.accelerator = Accelerator(kwargs_handlers=[patience])
                if self.world_size != launched:
                    raise UsageError(
                        f"WORLD_SIZE={launched} processes were launched and accelerate counts "
                        f"{self.world_size}; without GPUs set ACCELERATE_USE_CPU=true."
                    )
                # The store by which the launcher's processes found each other: there with any backend, at no further
                # port.
                self._store, _, _ = next(rendezvous("env://", self.rank, self.world_size))
                # NCCL looks for its way between hosts only now. The name is that of process 0.
                self._name = self.everyones(lambda: secrets.token_hex(8))[0]

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

    def counters(self) -> Counters:
        """Fresh counters. To use them, unlike to make them, no process waits for another."""
        if self.accelerator is None:
            return _OwnCounters()
        counters: Counters = torch.distributed.PrefixStore(f"mdlm/{self._name}/{next(_numbers)}", self._store)  # type: ignore[attr-defined]
        return counters

    def everyones(self, attempt: Callable[[], Result]) -> list[Result]:
        """What `attempt` returns in each process, by rank. If it raises in one of them, all processes raise.

        Without that the others would wait for the one that has failed.
        """
        if self.accelerator is None:
            return [attempt()]
        result, error = None, None
        try:
            result = attempt()
        except Exception as caught:
            error = caught
        outcomes: list[Any] = [None] * self.world_size
        with self._waiting():
            torch.distributed.all_gather_object(outcomes, (result, error and _told(error)))
        for rank, (_, failure) in enumerate(outcomes):
            if failure is not None and error is None:
                kind, message = failure
                error = kind(f"stopped because process {rank} failed: {message}")
        if error is not None:
            self._raised = error
            raise error
        return [own for own, _ in outcomes]

    def fail_with(self, error: BaseException) -> None:
        """Have the others raise too where they next wait for this process; nothing if they have raised it already.

        For who catches an error and goes on, where the others may not have met it. Then all go on from the same place.
        """
        causes = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
            causes.append(cause)
        if self.accelerator is None or any(cause is self._raised for cause in causes):
            return

        def fail() -> None:
            raise RuntimeError(f"{type(error).__name__}: {error}")

        with contextlib.suppress(Exception):
            self.everyones(fail)

    def all_gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, one after the other."""
        if self.accelerator is None:
            return tensor
        self.everyones(_nothing)  # raises where another process fails instead
        with self._waiting():
            gathered: Tensor = self.accelerator.gather(tensor)
        return gathered

    def gather_object(self, obj: Any, dst: int) -> list[Any] | None:
        """The objects of all processes on process `dst`, None on the others."""
        if self.accelerator is None:
            return [obj]
        self.everyones(_nothing)
        parts: list[Any] | None = [None] * self.world_size if self.rank == dst else None
        with self._waiting():
            torch.distributed.gather_object(obj, parts, dst=dst)
        return parts

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.accelerator:
            self.everyones(_nothing)
            with self._waiting():
                self.accelerator.wait_for_everyone()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """A broken connection to another process becomes the line that says which one is gone."""
        try:
            yield
        except RuntimeError as error:
            if is_broken_connection(error) and self._liveness is not None:
                self._liveness.wait_for_a_loss()
            raise


def _nothing() -> None:
    pass


def _told(error: Exception) -> tuple[type[Exception], str]:
    """How to raise it elsewhere: an error itself may not survive the way, or take the memory of its pass along."""
    if isinstance(error, UsageError):
        return UsageError, str(error)
    return RuntimeError, f"{type(error).__name__}: {error}"
