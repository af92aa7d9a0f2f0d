"""What a launcher has put into the environment of each process of a run."""

import os
from dataclasses import dataclass

from ..errors import UsageError


NAMES = "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"
_MOST_PROCESSES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Launched:
    """Which process this is of which run."""

    host: str
    """Of process 0, or of its launcher, where a store is kept by which the processes find each other."""
    port: int
    """Of the store."""
    rank: int
    world_size: int

    @classmethod
    def of_environment(cls) -> "Launched":
        """As the launcher has set it.

        Raises:
            UsageError: If something is missing, or no number, or out of range.
        """
        if missing := [name for name in NAMES if not os.environ.get(name)]:
            raise UsageError(
                f"a run of several processes needs {', '.join(NAMES)} in the environment, got no {missing[0]}; start "
                f"it with torchrun or accelerate launch."
            )
        world_size = number_of_processes()
        return cls(
            host=os.environ["MASTER_ADDR"],
            port=_number("MASTER_PORT", 1, 65535),
            rank=_number("RANK", 0, world_size - 1),
            world_size=world_size,
        )


def number_of_processes() -> int:
    """Of the run; 1 without a launcher.

    Raises:
        UsageError: If WORLD_SIZE is no number of processes.
    """
    return _number("WORLD_SIZE", 1, _MOST_PROCESSES) if "WORLD_SIZE" in os.environ else 1


def _number(name: str, least: int, most: int) -> int:
    text = os.environ[name]
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise UsageError(
            f"{name} in the environment must be a whole number from {least} to {most}, got {text!r}; leave it to "
            f"torchrun or accelerate launch, or unset it for a single process."
        )
    return number
