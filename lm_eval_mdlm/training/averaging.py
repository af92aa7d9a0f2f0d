"""Exponential averages of the weights, kept beside a run and through its checkpoints."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .sharding import gathered, local, sharded_like
from .trainable import trainable


FILE_NAME = "averaged_weights.safetensors"


class AveragedWeights(TrainerCallback):  # type: ignore[misc]  # transformers has no usable annotations
    """Averages the trainable weights after each step: `average += (1 - decay) * (weight - average)`.

    The decay grows with the steps as (1 + n) / (10 + n) up to `decay`, so that the random start is forgotten. Weights
    that are spread over processes have averages that are spread in the same way.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """Decay in (0, 1): the average spans about 1 / (1 - decay) steps."""
        self.decay = decay
        self.model = model
        self.averages: dict[str, Tensor] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Starts from the weights, where they now are, or from the averages of a resumed run's checkpoint."""
        self.averages = {name: weight.detach().clone() for name, weight in trainable(self.model).items()}
        if state.global_step:
            stored = load_file(_folder(args, state) / FILE_NAME)
            with torch.no_grad():
                for name, average in self.averages.items():
                    local(average).copy_(local(sharded_like(stored[name], average)))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One update, from the weights of the step just made."""
        steps = state.global_step
        rate = 1 - min(self.decay, (1 + steps) / (10 + steps))
        current = trainable(self.model)
        with torch.no_grad():
            averages = [local(average) for average in self.averages.values()]
            weights = [local(current[name]).to(average.dtype) for name, average in self.averages.items()]
            torch._foreach_lerp_(averages, weights, rate)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the averages into the checkpoint of this step."""
        whole = gathered(self.averages, keep=state.is_world_process_zero)
        if state.is_world_process_zero:
            save_file(whole, _folder(args, state) / FILE_NAME)

    def copy_to_model(self) -> None:
        """Replaces the weights by their averages."""
        with torch.no_grad():
            for name, weight in trainable(self.model).items():
                local(weight).copy_(local(self.averages[name]))


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
