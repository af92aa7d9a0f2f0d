"""Exponential averages of the weights, kept beside a run and through its checkpoints."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


FILE_NAME = "averaged_weights.safetensors"


class AveragedWeights(TrainerCallback):  # type: ignore[misc]  # transformers has no usable annotations
    """Averages the trainable weights after each step: `average += (1 - decay) * (weight - average)`.

    The decay grows with the steps as (1 + n) / (10 + n) up to `decay`, so that the random start is forgotten.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """Decay in (0, 1): the average spans about 1 / (1 - decay) steps."""
        self.decay = decay
        self._weights = dict(_trainable(model))
        self.averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Moves the averages to the weights' device, and takes a resumed run's from its checkpoint."""
        if state.global_step:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            self.averages = load_file(folder / FILE_NAME)
        self.averages = {name: self.averages[name].to(weight.device) for name, weight in self._weights.items()}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One update, from the weights of the step just made."""
        steps = state.global_step
        rate = 1 - min(self.decay, (1 + steps) / (10 + steps))
        with torch.no_grad():
            weights = [self._weights[name].to(average.dtype) for name, average in self.averages.items()]
            torch._foreach_lerp_(list(self.averages.values()), weights, rate)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the averages into the checkpoint of this step."""
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            save_file({name: average.cpu() for name, average in self.averages.items()}, folder / FILE_NAME)

    def copy_to_model(self) -> None:
        """Replaces the weights by their averages."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self.averages[name])


def _trainable(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
