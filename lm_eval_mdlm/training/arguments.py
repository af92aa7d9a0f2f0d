"""From our options to those of transformers' Trainer."""

from pathlib import Path
from typing import Any

import torch
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from ..errors import UsageError
from .config import TrainingConfig
from .launch import HOW_TO_LAUNCH
from .optimisers import OPTIMISERS
from .trainer import OneDeviceArguments


def rows_per_device(config: TrainingConfig, num_processes: int) -> int:
    """Rows of one pass on one device; UsageError if a step is no whole number of passes."""
    rows = config.device_batch_size or config.batch_size // num_processes
    if not rows or config.batch_size % (rows * num_processes):
        raise UsageError(
            f"--batch-size {config.batch_size} must be a multiple of --device-batch-size {rows or 1} times "
            f"{num_processes} processes; change one of them."
        )
    return rows


def training_arguments(config: TrainingConfig, *, num_processes: int) -> OneDeviceArguments:
    """Checked, and with them the device and the process group are set up."""
    rows = rows_per_device(config, num_processes)
    if config.shard and num_processes == 1:
        raise UsageError(
            f"--shard spreads a run over several processes, and there is one; {HOW_TO_LAUNCH} starts them."
        )
    if config.shard and config.cpu and torch.cuda.is_available():
        raise UsageError(
            f"--shard with --cpu needs GPUs out of sight, as torch would spread the weights over them, got "
            f"{torch.cuda.device_count()} visible; set CUDA_VISIBLE_DEVICES= in the environment."
        )
    schedule: dict[str, Any] = {
        "lr_scheduler_type": "warmup_stable_decay",
        "warmup_steps": config.warmup_steps,
        "lr_scheduler_kwargs": {"num_decay_steps": int(config.decay_share * config.steps), "min_lr_ratio": 0.01},
    }
    return OneDeviceArguments(
        output_dir=str(Path(config.out) / "checkpoints"),
        max_steps=config.steps,
        per_device_train_batch_size=rows,
        per_device_eval_batch_size=rows,
        gradient_accumulation_steps=config.batch_size // (rows * num_processes),
        optim=OPTIMISERS[config.optim].transformers_name,
        learning_rate=config.learning_rate,
        **schedule,
        weight_decay=config.weight_decay,
        adam_beta2=config.beta2,
        max_grad_norm=config.max_grad_norm,
        bf16=config.precision == "bfloat16",
        seed=config.seed,
        use_cpu=config.cpu,
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,  # would wait for the device in every step
        disable_tqdm=True,
        eval_strategy="steps" if config.validation else "no",
        eval_steps=config.evaluate_every,
        eval_on_start=config.evaluate_at_start,
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or 1,
        save_total_limit=2,
        dataloader_num_workers=config.workers,
        dataloader_prefetch_factor=4 if config.workers else None,
        dataloader_pin_memory=torch.cuda.is_available() and not config.cpu,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        report_to=_trackers(config.report_to),
        run_name=config.run_name or config.out,
    )


def _trackers(names: str) -> list[str]:
    wanted = [name.strip() for name in names.split(",") if name.strip() and name.strip() != "none"]
    available = get_available_reporting_integrations()
    for name in wanted:
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise UsageError(f"--report-to must name trackers of transformers ({known}) or none, got {name!r}.")
        if name not in available:
            raise UsageError(f"--report-to {name} needs its package, and it is not installed; pip install {name}.")
    return wanted
