"""Says how a run gets on, a line at a time: step, loss, rate, time left and memory."""

import sys
import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers has no usable annotations
    """Prints to stderr whenever something is logged; the first step and the last one always are."""

    def __init__(self) -> None:
        self._started = 0.0
        self._first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Time is counted from here, for a resumed run too."""
        self._started, self._first_step = time.monotonic(), state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A run that ends between two log lines still says what its loss is."""
        if state.global_step in (self._first_step + 1, state.max_steps):
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """One line."""
        if state.is_world_process_zero and logs and ("loss" in logs or "eval_loss" in logs):
            print(self._line(state, logs, args.device), file=sys.stderr, flush=True)

    def _line(self, state: TrainerState, logs: dict[str, float], device: torch.device) -> str:
        step = f"step {state.global_step:,} of {state.max_steps:,}"
        if "eval_loss" in logs:
            error = f" ± {logs['eval_loss_error']:.4f}" if "eval_loss_error" in logs else ""
            return f"{step}: validation loss {logs['eval_loss']:.4f}{error}"
        parts = [f"loss {logs['loss']:.4f}"]
        parts += [f"{name} {logs[key]:.3g}" for name, key in _SHOWN.items() if key in logs]
        done = state.global_step - self._first_step
        if done:
            each = (time.monotonic() - self._started) / done
            left = each * (state.max_steps - state.global_step)
            parts += [f"{each:.3g} s per step", f"{_duration(left)} left"]
        if device.type == "cuda":
            parts.append(f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB at most")
        return f"{step}: " + ", ".join(parts)


_SHOWN = {"gradient norm": "grad_norm", "rate": "learning_rate"}


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
