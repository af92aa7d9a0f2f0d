"""Runs a training on transformers' Trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from ..errors import UsageError
from .evaluation import row_losses, summarise
from .sharding import spread_again
from .trainable import trainable


WEIGHTS = "model.safetensors"


class OneDeviceArguments(TrainingArguments):  # type: ignore[misc]  # transformers has no usable annotations
    """Each process uses one device, however many it can see: more are for a launcher, not for DataParallel."""

    @property
    def n_gpu(self) -> int:
        """At most 1."""
        return min(int(super().n_gpu), 1)

    @property
    def device(self) -> torch.device:
        """A CPU without a number: several processes number it, and torch reads nothing back onto a "cpu:0"."""
        device: torch.device = super().device
        return torch.device("cpu") if device.type == "cpu" else device


class DiffusionTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that takes rows in their places' order, and whose model returns its own loss.

    Its checkpoints hold the weights that it trains and no others.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def create_accelerator_and_postprocess(self) -> None:
        """As transformers does; accelerate offers sharding to GPUs alone, and processes on CPUs get it here."""
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        if self.args.fsdp_plugin_args is not None and state.distributed_type == DistributedType.MULTI_CPU:
            state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            self.is_fsdp_enabled = True

    def compute_loss_context_manager(self) -> Any:
        """As transformers has it; around sharded weights accelerate sets up no autocast, so that is done here."""
        if not self.is_fsdp_enabled:
            return super().compute_loss_context_manager()
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16)

    def compute_loss(
        self, model: nn.Module, inputs: Mapping[str, Tensor], return_outputs: bool = False, **unused: Any
    ) -> Any:
        """The model's loss; normalised within it."""
        outputs = model(**inputs)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The validation loss and its error over all examples, logged; the same for any number of processes."""
        rows = eval_dataset if eval_dataset is not None else self.eval_dataset
        was_training = self.model.training
        self.model.eval()

        def compute(inputs: Mapping[str, Tensor]) -> Tensor:
            with torch.no_grad(), self.compute_loss_context_manager():
                losses: Tensor = self.model(**self._prepare_inputs(inputs))["row_losses"]
            return losses

        losses = row_losses(
            rows,
            compute,
            batch_size=self.args.per_device_eval_batch_size,
            collate=self.data_collator,
            process=self.args.process_index,
            num_processes=self.args.world_size,
            workers=self.args.dataloader_num_workers,
        )
        self.model.train(was_training)
        spread_again(self.model)
        summed = self.accelerator.reduce(losses.to(self.args.device), reduction="sum").cpu()
        metrics = summarise(summed, num_examples=len(rows.examples)).metrics(metric_key_prefix)
        self.log(dict(metrics))
        control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)  # type: ignore[has-type]
        self.control = control
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().contiguous() for name, weight in trainable(self.model).items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        current = trainable(self.model)
        stored = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        if stored.keys() != current.keys():
            raise UsageError(
                f"--resume: {resume_from_checkpoint} holds {len(stored)} weights, and this run trains {len(current)}, "
                "not all of the same names; start anew with another --out."
            )
        with torch.no_grad():
            for name, weight in current.items():
                weight.copy_(stored[name])
