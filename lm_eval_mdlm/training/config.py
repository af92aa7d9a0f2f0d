"""Options of a training run: one dataclass, from which the command line is built."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints.inside import read_object
from ..errors import UsageError
from .masking import Masking, masking_of
from .optimisers import OPTIMISERS


def option(help_text: str, default: Any = dataclasses.MISSING, **limits: Any) -> Any:
    """A dataclass field with its help; limits: `least`, `most`, `choices`."""
    return dataclasses.field(default=default, metadata={"help": help_text, **limits})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides what a run computes, and a few things that do not (RUN_ONLY)."""

    data: str = option('JSON Lines; "prompt" and "response", or "prompt", "solution" and "answer", on each line')
    out: str = option("folder for the checkpoint; must not exist or be empty, except with --resume")
    pretrained: str | None = option("checkpoint to fine-tune: a folder, a hub id, or demo for the packaged one", None)
    from_scratch: str | None = option("folder with config.json and tokenizer; weights are drawn at random", None)
    revision: str | None = option("branch, tag or commit of a hub id", None)
    validation: str | None = option("like --data, for the validation loss", None)
    skip_unfit: bool = option("train without the examples that do not fit, instead of refusing them", False)
    template: str = option(
        "layout of responses with an answer, as in the tasks (JSON)",
        '[{"reasoning": 246}, {"text": "\\nThe answer is \\\\boxed{"}, {"answer": 10}]',
    )
    free_share: float = option(
        "share of these that are laid out freely: no filling, all maskable", 0.3, least=0, most=1
    )
    block_share: float = option(
        "share of the rows masked as decoding in blocks meets them: all before a block known, nothing behind it, and "
        "only the block learnt",
        0.0,
        least=0,
        most=1,
    )
    block_length: int = option("positions of such a block, counted from the end of the prompt", 32, least=1)
    end_padding: int = option("a free response is followed by 1 to this many end-of-text tokens", 16, least=1)
    steps: int = option("optimiser steps", 1000, least=1)
    batch_size: int = option("rows per step, over all devices", 32, least=1)
    device_batch_size: int | None = option("rows per pass and device; all of a device's rows if unset", None, least=1)
    optim: str = option(
        "AdamW; with states of 8 bits by bitsandbytes or torchao; or Adafactor", "adamw", choices=tuple(OPTIMISERS)
    )
    learning_rate: float = option("peak learning rate", 1e-5, least=0)
    warmup_steps: int = option("steps of linear warm-up", 50, least=0)
    decay_share: float = option("last part of the run in which the rate falls to 1 percent", 0.4, least=0, most=1)
    weight_decay: float = option("decoupled weight decay", 0.01, least=0)
    beta2: float = option("second-moment decay of AdamW", 0.98, least=0, most=1)
    max_grad_norm: float = option("gradients are clipped to this norm", 1.0, least=0)
    average_decay: float = option(
        "save an exponential average of the weights with this decay; 0 is off", 0.0, least=0, most=1
    )
    lora_rank: int = option("rank of LoRA adapters; 0 trains all weights", 0, least=0)
    lora_alpha: float = option("scale of LoRA: alpha / rank", 16.0, least=0)
    adapter_only: bool = option(
        "with --lora-rank: save OUT/adapter alone; else the merged network is saved beside it", False
    )
    weights_dtype: str = option(
        "dtype of the weights; auto is float32, and that of --precision for frozen ones under LoRA (adapters: float32)",
        "auto",
        choices=("auto", "float32", "bfloat16"),
    )
    precision: str = option("arithmetic of the passes", "bfloat16", choices=("float32", "bfloat16"))
    save_dtype: str = option("dtype of the saved weights", "bfloat16", choices=("float32", "bfloat16"))
    gradient_checkpointing: bool = option("recompute activations: less memory, a third more time", False)
    shard: bool = option(
        "spread weights, gradients and optimiser states over all processes (FSDP2); needs a launcher", False
    )
    compile: bool = option("compile the network; every batch is then padded to one length", False)
    deterministic: bool = option("on a GPU too the same bits in every run; slower, and some networks cannot", False)
    seed: int = option("decides weights, order, layouts and masks", 0, least=0)
    log_every: int = option("steps between log lines", 50, least=1)
    evaluate_every: int = option("steps between validation losses, with --validation", 500, least=1)
    evaluate_at_start: bool = option("with --validation: the loss before the first step too", False)
    evaluation_draws: int = option("maskings of every validation example; more, and the loss is surer", 4, least=1)
    save_every: int = option("steps between resumable checkpoints in OUT/checkpoints; 0 is none", 500, least=0)
    workers: int = option("processes that prepare batches", 2, least=0)
    cpu: bool = option("run on the CPU even if there is a GPU", False)
    report_to: str = option("experiment trackers as transformers names them, with commas: wandb,tensorboard", "none")
    run_name: str | None = option("name of the run in these trackers; OUT if unset", None)
    dry_run: bool = option("say what would be trained and whether it fits, and stop before anything is written", False)
    resume: bool = option("go on from the last whole checkpoint in OUT; all other options as before", False)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if (self.pretrained is None) == (self.from_scratch is None):
            raise UsageError("give either --pretrained (fine-tune) or --from-scratch (new weights), not both.")
        if self.from_scratch is not None and self.lora_rank:
            raise UsageError("--lora-rank adapts trained weights, and --from-scratch has none; use --pretrained.")
        if self.lora_rank == 0 and self.adapter_only:
            raise UsageError("--adapter-only saves LoRA adapters, and --lora-rank is 0; set a rank, such as 16.")
        if self.lora_rank == 0 and self.weights_dtype == "bfloat16":
            raise UsageError(
                "--weights-dtype bfloat16 trains no weights: most updates are smaller than half a step between two "
                "bfloat16 numbers and round to nothing; use float32, with --shard, --optim adamw_8bit or --lora-rank "
                "where memory is short."
            )
        if self.weights_dtype == "bfloat16" and self.precision == "float32":
            raise UsageError("--weights-dtype bfloat16 needs passes in it too; leave out --precision float32.")
        if self.evaluate_at_start and self.validation is None:
            raise UsageError("--evaluate-at-start needs examples to evaluate; give --validation.")
        if self.shard and (self.lora_rank or self.compile):
            other = "--lora-rank: adapters leave little to spread" if self.lora_rank else "--compile"
            raise UsageError(f"--shard cannot be combined with {other}; leave one of them out.")

    @property
    def network_dtype(self) -> str:
        """Dtype in which the network is loaded, `weights_dtype` with auto resolved."""
        if self.weights_dtype != "auto":
            return self.weights_dtype
        return "bfloat16" if self.lora_rank and self.precision == "bfloat16" else "float32"

    @property
    def masking(self) -> Masking:
        """The rule by which the rows of training are masked."""
        return masking_of(self.block_share, self.block_length)

    def record(self) -> dict[str, Any]:
        """The options that decide what is computed, as plain values."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in RUN_ONLY}

    def write(self, path: Path) -> None:
        """Keep the record for a later --resume."""
        path.write_text(json.dumps(self.record(), indent=2) + "\n")

    def check_same(self, path: Path) -> None:
        """UsageError if the run recorded in `path` had other options."""
        # Options that are newer than the run had their defaults in it.
        before: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(self)}
        try:
            before |= read_object(path)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--resume: {path} must be as finetune wrote it ({type(error).__name__}: {error}); restore it, or name "
                f"another --out."
            ) from None
        for name, value in self.record().items():
            if before[name] != value:
                raise UsageError(
                    f"--resume: --{name.replace('_', '-')} is {value!r}, the run in {path.parent} had "
                    f"{before[name]!r}; give the same, or another --out."
                )


RUN_ONLY = (
    *("out", "resume", "dry_run", "workers", "cpu", "device_batch_size", "report_to", "run_name", "adapter_only"),
    *("log_every", "save_every", "evaluate_every", "evaluate_at_start", "evaluation_draws"),
)
"""Options that may change on --resume."""


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    flag, limits = f"--{field.name.replace('_', '-')}", field.metadata
    if value is None:
        return
    if "least" in limits and value < limits["least"]:
        raise UsageError(f"{flag} must be at least {limits['least']}, got {value}.")
    if "most" in limits and value > limits["most"]:
        raise UsageError(f"{flag} must be at most {limits['most']}, got {value}.")
    if "choices" in limits and value not in limits["choices"]:
        raise UsageError(f"{flag} must be one of {', '.join(limits['choices'])}, got {value!r}.")


def parser() -> argparse.ArgumentParser:
    """The command line, one flag per field."""
    made = argparse.ArgumentParser(
        prog="lm-eval-mdlm finetune",
        description="Train or fine-tune a masked diffusion language model with the LLaDA objective.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for field in dataclasses.fields(TrainingConfig):
        flag, help_text = f"--{field.name.replace('_', '-')}", field.metadata["help"].replace("%", "%%")
        if field.type in (bool, "bool"):
            made.add_argument(flag, action="store_true", help=help_text)
            continue
        kind = next(k for k in (int, float, str) if k.__name__ in str(field.type))
        required = field.default is dataclasses.MISSING
        more = {"required": True} if required else {"default": field.default}
        made.add_argument(flag, type=kind, choices=field.metadata.get("choices"), help=help_text, **more)
    return made


def from_arguments(arguments: Sequence[str] | None = None) -> TrainingConfig:
    """The options of a command line, `--batch-size` and `--batch_size` alike; UsageError for a value out of range."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return TrainingConfig(**vars(parser().parse_args([_with_hyphens(word) for word in words])))


def _with_hyphens(word: str) -> str:
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value
