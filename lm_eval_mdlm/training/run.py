"""One training run, from options to a checkpoint that `pretrained=` loads."""

import functools
import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from ..canvas.template import Template
from ..errors import UsageError
from .averaging import AveragedWeights
from .batches import NoisyRows, collate
from .config import TrainingConfig
from .examples import read_examples
from .layout import Layout, TokenizedExample, layout_of, tokenize
from .networks import TrainableNetwork, load_network, save_checkpoint, with_lora
from .objective import MaskedDenoising
from .trainer import DiffusionTrainer


logger = logging.getLogger(__name__)
RECORD = "training.json"
EVALUATION_SEED = 2**32
"""Apart from any training seed's rows: seeds are below this in practice, and places never meet."""


def train(config: TrainingConfig) -> dict[str, float]:
    """Train and save; returns the last losses.

    Raises:
        UsageError: For options, files or checkpoints that cannot be used; nothing has been written then.
    """
    out = Path(config.out)
    checkpoint = _last_checkpoint(config, out)
    torch.manual_seed(config.seed)
    trained = load_network(
        config.pretrained or config.from_scratch or "",
        random_weights=config.from_scratch is not None,
        dtype=getattr(torch, config.weights_dtype),
        revision=config.revision,
    )
    layout = _layout(config, trained)
    examples = _examples(config.data, trained, layout)
    held_out = _examples(config.validation, trained, layout) if config.validation else []
    if config.lora_rank:
        trained = with_lora(trained, rank=config.lora_rank, alpha=config.lora_alpha)
    _, rank = process_count_and_rank()
    if rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        config.write(out / RECORD)
    trainer, averages = _trainer(config, trained, layout, examples, held_out)
    trainer.train(resume_from_checkpoint=checkpoint)
    if averages is not None:
        averages.copy_to_model()
    losses = trainer.evaluate() if held_out else {}
    losses["train_loss"] = next(
        (entry["loss"] for entry in reversed(trainer.state.log_history) if "loss" in entry), float("nan")
    )
    if trainer.is_world_process_zero():
        save_checkpoint(trained, out, dtype=getattr(torch, config.save_dtype))
        (out / "losses.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
    return losses


def process_count_and_rank() -> tuple[int, int]:
    """How many processes a launcher started, and which one this is."""
    return int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))


def _last_checkpoint(config: TrainingConfig, out: Path) -> str | None:
    if not config.resume:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"--out {out} exists and is not empty; name a new folder, or add --resume to go on there.")
        return None
    if not (out / RECORD).is_file():
        raise UsageError(f"--resume: {out} holds no {RECORD} of an earlier run; leave --resume out to start one.")
    config.check_same(out / RECORD)
    folder = out / "checkpoints"
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None


def _layout(config: TrainingConfig, trained: TrainableNetwork) -> Layout:
    return layout_of(
        Template.parse(config.template),
        lambda text: trained.tokenizer.encode(text, add_special_tokens=False),
        end_token_id=trained.tokens.end_token_ids[0],
        free_share=config.free_share,
        end_padding=config.end_padding,
    )


def _examples(path: str | None, trained: TrainableNetwork, layout: Layout) -> list[TokenizedExample]:
    def encode_all(texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = trained.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids

    assert path is not None
    return tokenize(read_examples(Path(path)), encode_all, layout=layout, max_length=trained.max_length)


def _trainer(
    config: TrainingConfig,
    trained: TrainableNetwork,
    layout: Layout,
    examples: list[TokenizedExample],
    held_out: list[TokenizedExample],
) -> tuple[DiffusionTrainer, AveragedWeights | None]:
    model = MaskedDenoising(trained.network, shift=trained.shift)
    if config.gradient_checkpointing:
        trained.network.gradient_checkpointing_enable({"use_reentrant": False})
    if config.compile:
        trained.network.get_decoder().compile(dynamic=False)
    make_rows = functools.partial(NoisyRows, layout=layout, mask_token_id=trained.tokens.mask_token_id)
    rows = make_rows(
        examples, num_rows=config.steps * config.batch_size, rows_per_step=config.batch_size, seed=config.seed
    )
    kept = make_rows(
        held_out, num_rows=len(held_out), rows_per_step=max(len(held_out), 1), seed=EVALUATION_SEED, shuffle=False
    )
    longest = max(layout.longest(example) for example in [*examples, *held_out])
    pad_to = -(-longest // 8) * 8 if config.compile else None  # multiples of 8 suit the matrix units
    averages = AveragedWeights(model, decay=config.average_decay) if config.average_decay else None
    trainer = DiffusionTrainer(
        model=model,
        args=_arguments(config, evaluates=bool(held_out)),
        train_dataset=rows,
        eval_dataset=kept if held_out else None,
        data_collator=functools.partial(collate, pad_to=pad_to, pad_token_id=trained.tokens.end_token_ids[0]),
        callbacks=[averages] if averages else [],
    )
    return trainer, averages


def _arguments(config: TrainingConfig, *, evaluates: bool) -> TrainingArguments:
    processes, _ = process_count_and_rank()
    per_device = config.device_batch_size or config.batch_size // processes
    passes, left_over = divmod(config.batch_size, max(per_device * processes, 1))
    if left_over or not passes:
        raise UsageError(
            f"--batch-size {config.batch_size} must be a multiple of --device-batch-size {per_device} times "
            f"{processes} processes; change one of them."
        )
    schedule: dict[str, Any] = {
        "lr_scheduler_type": "warmup_stable_decay",
        "warmup_steps": config.warmup_steps,
        "lr_scheduler_kwargs": {"num_decay_steps": int(config.decay_share * config.steps), "min_lr_ratio": 0.01},
    }
    return TrainingArguments(
        output_dir=str(Path(config.out) / "checkpoints"),
        max_steps=config.steps,
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=per_device,
        gradient_accumulation_steps=passes,
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
        eval_strategy="steps" if evaluates else "no",
        eval_steps=config.evaluate_every,
        save_strategy="steps" if config.save_every else "no",
        save_steps=config.save_every or 1,
        save_total_limit=2,
        dataloader_num_workers=config.workers,
        dataloader_prefetch_factor=4 if config.workers else None,
        dataloader_pin_memory=torch.cuda.is_available() and not config.cpu,
        remove_unused_columns=False,
        report_to=[],
    )
