"""One training run, from options to a checkpoint that `pretrained=` loads."""

import functools
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback

from ..canvas.template import Template
from ..errors import UsageError
from ..running.room import check_takes
from .arguments import rows_per_device, training_arguments
from .averaging import AveragedWeights
from .batches import NoisyRows, collate
from .config import TrainingConfig
from .disks import told_of_disks
from .evaluation import validation_rows
from .launch import Launch, warning_of_idle_gpus
from .layout import Layout, layout_of
from .memory import told_of_memory
from .networks import Source, TrainableNetwork, require_peft, with_lora
from .objective import MaskedDenoising
from .optimisers import OPTIMISERS
from .plan import ExampleSet, Plan, shape_of, workload_of
from .progress import Progress
from .repeatable import repeatable_passes
from .resuming import CompletionMarker, newest_complete
from .saving import save_adapter, save_checkpoint
from .sharding import plugin_options
from .trainer import DiffusionTrainer, OneDeviceArguments


logger = logging.getLogger(__name__)
RECORD = "training.json"


def train(config: TrainingConfig) -> dict[str, float]:
    """Train and save; returns the last losses. With `dry_run` only say what would be done.

    Raises:
        UsageError: For options, files or checkpoints that cannot be used, and for a folder that cannot be written
            before anything has been; or if a disk is full or memory runs out later, when the checkpoints that are whole
            stay.
    """
    with told_of_disks(Path(config.out)), told_of_memory(config):
        return _trained(config)


def _trained(config: TrainingConfig) -> dict[str, float]:
    launch = Launch.current()
    out = Path(config.out)
    with launch.forming():
        arguments = training_arguments(config, num_processes=launch.num_processes)
        checkpoint = launch.agree(lambda: _checkpoint_to_go_on_from(config, out))
    plan, layout = _plan(config, launch, arguments.device)
    if launch.is_first:
        lines = [*plan.lines(), warning_of_idle_gpus(launch, cpu=config.cpu)]
        print("\n".join(line for line in lines if line), file=sys.stderr, flush=True)
    for examples in (plan.data, plan.held_out):
        if examples is not None and not (config.dry_run or config.skip_unfit):
            examples.refuse_unfit()
    if config.dry_run:
        return {}
    for examples in (plan.data, plan.held_out):
        if examples is not None:
            examples.refuse_none_left()
    trained = _network(config, plan.source)
    if launch.is_first:
        check_takes(out, f"--out {out}")
        config.write(out / RECORD)
        _remove_unfinished(out)
    launch.wait_for_all()
    trainer, averages = _trainer(config, trained, arguments, plan, layout)
    with repeatable_passes(config.deterministic):
        trainer.train(resume_from_checkpoint=checkpoint)
    if averages is not None:
        averages.copy_to_model()
    losses = _last_losses(trainer, validate=plan.held_out is not None, changed=averages is not None)
    _save(config, trained, out, writes=launch.is_first)
    if launch.is_first:
        (out / "losses.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
    launch.wait_for_all()
    # accelerate leaves it behind, and a later run in this process would take it for its own option.
    os.environ.pop("ACCELERATE_USE_FSDP", None)
    return losses


def _checkpoint_to_go_on_from(config: TrainingConfig, out: Path) -> str | None:
    if not config.resume:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"--out {out} exists and is not empty; name a new folder, or add --resume to go on there.")
        return None
    if not (out / RECORD).is_file():
        raise UsageError(f"--resume: {out} holds no {RECORD} of an earlier run; leave --resume out to start one.")
    config.check_same(out / RECORD)
    checkpoint, _ = newest_complete(out / "checkpoints")
    logger.warning("Resuming from %s.", checkpoint or "the start: there is no whole checkpoint")
    return None if checkpoint is None else str(checkpoint)


def _plan(config: TrainingConfig, launch: Launch, device: torch.device) -> tuple[Plan, Layout]:
    """Everything that is checked before weights are read."""
    if config.lora_rank:
        require_peft("--lora-rank")
    OPTIMISERS[config.optim].check(config.optim, shard=config.shard, has_gpu=device.type == "cuda")
    source = Source.open(config.pretrained or config.from_scratch or "", config.revision)
    if source.family.block_causal:
        raise UsageError(
            f"{source.checkpoint.pretrained}: fine-tuning trains networks that see their whole canvas, and "
            f"{source.family.name} sees blocks of a grid; only `lm-eval-mdlm merge` takes such checkpoints."
        )
    layout = layout_of(
        Template.parse(config.template),
        lambda text: source.encoder.encode(text, add_special_tokens=False).token_ids,
        end_token_id=source.tokens.end_token_ids[0],
        free_share=config.free_share,
        end_padding=config.end_padding,
    )
    data = ExampleSet.read(Path(config.data), source, layout)
    held_out = ExampleSet.read(Path(config.validation), source, layout) if config.validation else None
    work = workload_of(
        config,
        rows=rows_per_device(config, launch.num_processes),
        length=data.longest,
        num_processes=launch.num_processes,
    )
    plan = Plan(
        config=config,
        source=source,
        shape=shape_of(source, config),
        work=work,
        data=data,
        held_out=held_out,
        device=device,
        launch=launch,
    )
    return plan, layout


def _network(config: TrainingConfig, source: Source) -> TrainableNetwork:
    torch.manual_seed(config.seed)  # the same in every process, and so are weights and adapters
    trained = source.load(getattr(torch, config.network_dtype), random_weights=config.from_scratch is not None)
    if config.lora_rank:
        adapted = with_lora(trained.network, rank=config.lora_rank, alpha=config.lora_alpha)
        trained = TrainableNetwork(network=adapted, source=source)
    return trained


def _trainer(
    config: TrainingConfig, trained: TrainableNetwork, arguments: OneDeviceArguments, plan: Plan, layout: Layout
) -> tuple[DiffusionTrainer, AveragedWeights | None]:
    model = MaskedDenoising(trained.network, shift=trained.shift)
    if config.gradient_checkpointing:
        _recompute_activations(trained.network)
    if config.compile:
        trained.network.get_decoder().compile(dynamic=False)
    if config.shard:
        arguments.fsdp_plugin_args = plugin_options(trained.network, bfloat16=config.precision == "bfloat16")
    tokens = plan.source.tokens
    rows = NoisyRows(
        plan.data.examples,
        layout,
        num_rows=config.steps * config.batch_size,
        rows_per_step=config.batch_size,
        mask_token_id=tokens.mask_token_id,
        seed=config.seed,
        masking=config.masking,
    )
    kept = plan.held_out and validation_rows(
        plan.held_out.examples, layout, draws=config.evaluation_draws, mask_token_id=tokens.mask_token_id
    )
    longest = max(plan.data.longest, plan.held_out.longest if plan.held_out else 0)
    pad_to = -(-longest // 8) * 8 if config.compile else None  # multiples of 8 suit the matrix units
    averages = AveragedWeights(model, decay=config.average_decay) if config.average_decay else None
    callbacks: list[Any] = [Progress(), *([averages] if averages else []), CompletionMarker(plan.launch)]
    trainer = DiffusionTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=kept,
        data_collator=functools.partial(collate, pad_to=pad_to, pad_token_id=tokens.end_token_ids[0]),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, averages


def _recompute_activations(network: Any) -> None:
    # Its name since transformers 5.23; the older one warns there.
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _last_losses(trainer: DiffusionTrainer, *, validate: bool, changed: bool) -> dict[str, float]:
    """Of the end of a run; validation is not repeated unless weights have `changed` since the last step."""
    history = trainer.state.log_history
    losses = {"train_loss": next(entry["loss"] for entry in reversed(history) if "loss" in entry)}
    if not validate:
        return losses
    known = [entry for entry in history if "eval_loss" in entry and entry["step"] == trainer.state.global_step]
    found = trainer.evaluate() if changed or not known else known[-1]
    return {name: found[name] for name in ("eval_loss", "eval_loss_error") if name in found} | losses


def _remove_unfinished(out: Path) -> None:
    """Checkpoints after the one that a run goes on from: it writes them again, and into empty folders."""
    _, broken = newest_complete(out / "checkpoints")
    for folder in broken:
        logger.warning("%s was not written to its end and is removed.", folder)
        shutil.rmtree(folder)


def _save(config: TrainingConfig, trained: TrainableNetwork, out: Path, *, writes: bool) -> None:
    if config.lora_rank and writes:
        save_adapter(trained, out)
    if not config.adapter_only:
        save_checkpoint(trained, out, dtype=getattr(torch, config.save_dtype), writes=writes)
