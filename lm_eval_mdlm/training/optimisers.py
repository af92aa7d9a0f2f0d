"""The optimisers that a run may ask for, and what each of them needs."""

import importlib.util
from dataclasses import dataclass

from ..errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """What there is to know of an optimiser before it is made."""

    transformers_name: str
    """In TrainingArguments."""
    state_bytes: float
    """Memory of its states, bytes per trained weight."""
    package: str | None = None
    """Has to be installed; None if torch or transformers brings it."""
    shards: bool = False
    """Whether it updates weights that are spread over processes (DTensor)."""
    needs_gpu: bool = False

    def check(self, name: str, *, shard: bool, has_gpu: bool) -> None:
        """UsageError unless it can be used in this run; `name` is what the user wrote."""
        if shard and not self.shards:
            able = ", ".join(name for name, optimiser in OPTIMISERS.items() if optimiser.shards)
            raise UsageError(f"--optim with --shard must be one of {able}, got {name}.")
        if self.package and importlib.util.find_spec(self.package) is None:
            raise UsageError(
                f"--optim {name} needs the package {self.package}, and it is not installed; pip install {self.package}."
            )
        if self.needs_gpu and not has_gpu:
            raise UsageError(f"--optim {name} needs a GPU, and this run has none; use adamw or adafactor.")


OPTIMISERS = {
    "adamw": Optimiser(transformers_name="adamw_torch", state_bytes=8, shards=True),
    # Two moments of one byte, and a scale of four for every 256 of each.
    "adamw_8bit": Optimiser(
        transformers_name="adamw_bnb_8bit", state_bytes=2 + 8 / 256, package="bitsandbytes", needs_gpu=True
    ),
    "adamw_torch_8bit": Optimiser(
        transformers_name="adamw_torch_8bit", state_bytes=2 + 8 / 256, package="torchao", shards=True
    ),
    # One row and one column of second moments per matrix: well under a hundredth of a byte per weight at real sizes.
    "adafactor": Optimiser(transformers_name="adafactor", state_bytes=0.01),
}
