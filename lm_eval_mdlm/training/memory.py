"""A device without memory for a training, told in one line that names what takes less."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..backbones.shortage import is_out_of_memory
from ..errors import UsageError
from .config import TrainingConfig
from .launch import Launch


@contextlib.contextmanager
def told_of_memory(config: TrainingConfig) -> Iterator[None]:
    """Inside, a want of memory, of any library and under any error, becomes a UsageError that names options."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UsageError(
            f"--out {Path(config.out)}: the training does not fit into the memory of the device; "
            f"{', or '.join(_what_takes_less(config))}; with the same options but for --device-batch-size, --resume "
            f"goes on from the last whole checkpoint."
        ) from error


def _what_takes_less(config: TrainingConfig) -> list[str]:
    """Next steps, those first that leave the result as it is; of options that the run does not use yet."""
    num_processes = Launch.current().num_processes
    rows = config.device_batch_size or config.batch_size // num_processes
    steps = [f"lower --device-batch-size from {rows}"] if rows > 1 else []
    if not config.gradient_checkpointing:
        steps.append("add --gradient-checkpointing")
    if not (config.shard or config.lora_rank or config.compile):
        steps.append("--shard over several processes")
    steps.append(f"lower --lora-rank from {config.lora_rank}" if config.lora_rank else "--lora-rank 16")
    return steps
