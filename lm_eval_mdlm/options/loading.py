"""Options of the model as a whole: which checkpoint, where it runs, how many rows at a time."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UsageError
from . import values
from .decoding import DecodingConfig
from .foreign_names import LENGTH_NAMES, instead_of
from .likelihood import LikelihoodConfig


logger = logging.getLogger("lm_eval.mdlm")


@dataclass(frozen=True, kw_only=True)
class LoadingConfig:
    """Options of a run that no single request can change. Every field is a key of `--model_args`."""

    pretrained: str
    """A directory, a hub id, or `demo` for the packaged checkpoint."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    peft: str | None = None
    """A low-rank adapter that was trained on `pretrained`, merged into it in memory: a folder, or a hub id as
    owner/name or owner/name@revision."""
    dtype: str = "auto"
    """bfloat16, float16, float32; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    device: str | None = None
    """Such as cuda:0 or cpu; a GPU if there is one, if unset. Under a launcher each process takes its own."""
    device_map: Any = None
    """Spreads one model over devices, as in transformers: auto, or a mapping from modules to devices."""
    mask_token_id: int | None = None
    """Overrides the checkpoint's own mask token."""
    family: str | None = None
    """Overrides what the checkpoint looks like: the key of a family in `docs/families.md`."""
    grid_block: int | None = None
    """Positions of a grid block of a block-causal checkpoint, where neither its config nor its family tells it."""
    batch_size: int | str = 1
    """Rows decoded together, or `auto` to pack by tokens; changes no result."""
    max_batch_size: int | None = None
    """With `batch_size=auto`, the most rows decoded together."""
    trust_remote_code: bool = False
    """Accepted because the harness may pass it; never needed, and nothing is run."""
    enable_thinking: bool | None = None
    """Passed to the chat template as a variable of that name, as lm_eval's `hf` does."""
    chat_template_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """More variables of the chat template."""
    journal: str | None = None
    """A folder that keeps every finished request; requests that it holds are taken from there."""
    record_steps: str | None = None
    """A folder that keeps every step of every decoded row, for `diagnose` and `read_steps`; changes no result."""
    task_stats: bool = True
    """Report NFE and the other counts for stock tasks too."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "LoadingConfig":
        """Check untyped options; UsageError for a value that cannot be."""
        given = {name: value for name, value in options.items() if value is not None}
        if not isinstance(given.get("pretrained"), str) or not given["pretrained"]:
            raise UsageError("pretrained must name a checkpoint directory or hub id; add --model_args pretrained=...")
        return cls(**{name: _CHECKS[name](name, value) for name, value in given.items()})

    def for_backbone(self, device: str | None) -> dict[str, Any]:
        """Arguments of `load_backbone`, on the device of this process."""
        if device is not None and device.startswith("cuda") and not torch.cuda.is_available():
            # The harness asks for cuda:0 by default, so this is no mistake of the user.
            logger.warning("device=%s was asked for and there is no GPU: running on the CPU.", device)
            device = "cpu"
        names = ("pretrained", "revision", "peft", "dtype", "device_map", "mask_token_id", "family", "grid_block")
        own = {name: getattr(self, name) for name in names}
        return {**own, "device": None if self.device_map else device, "require_tokenizer": True}

    def chat_variables(self) -> dict[str, Any]:
        """Variables of the chat template."""
        thinking = {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}
        return {**self.chat_template_args, **thinking}

    def without_effect(self, config: DecodingConfig) -> Iterator[str]:
        """A line for every option that does nothing beside the others."""
        if self.max_batch_size is not None and self.batch_size != "auto":
            yield (
                f"max_batch_size={self.max_batch_size} has an effect only with batch_size=auto, and batch_size="
                f"{self.batch_size} is used."
            )
        if self.enable_thinking and config.think_end_token is None:
            yield "enable_thinking=True without think_end_token: thinking stays in the texts that are scored."
        if self.device_map is not None and self.device not in (None, "cuda:0"):  # which the harness passes on by itself
            yield f"device={self.device} has no effect beside device_map={self.device_map}."

    def without_fixed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """A request's options less those of this class, which may only repeat what the model was loaded with."""
        rest = dict(options)
        for name in LikelihoodConfig.names():
            if rest.pop(name, None) is not None:
                raise UsageError(
                    f"{name} in --gen_kwargs: likelihoods have no options there; put it into --model_args."
                )
        for name in _CHECKS:
            if (
                name in rest
                and (value := rest.pop(name)) is not None
                and _CHECKS[name](name, value) != getattr(self, name)
            ):
                raise UsageError(
                    f"{name}={value!r} in --gen_kwargs: the model is loaded with {name}={getattr(self, name)!r} for "
                    f"the whole run; put it into --model_args."
                )
        return rest

    def effective(self) -> dict[str, Any]:
        """All options as plain values for the record."""
        return dataclasses.asdict(self)


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options of the model, of decoding and of likelihoods; UsageError for a name that is none of them."""
    homes = (_CHECKS.keys(), frozenset(DecodingConfig.names()), frozenset(LikelihoodConfig.names()))
    for name in options:
        if not any(name in home for home in homes):
            known = [name for home in homes for name in sorted(home)]
            if name in LENGTH_NAMES:
                raise UsageError(f"{name} is the tasks' name for gen_length; write gen_length in --model_args.")
            hint = instead_of(name) or values.closest(name, known)
            raise UsageError(f"unknown option {name!r}.{hint} Known: {', '.join(known)}.")
    model, decoding, likelihood = ({n: v for n, v in options.items() if n in home} for home in homes)
    return model, decoding, likelihood


def _text(name: str, value: Any) -> str:
    return str(value)


def _batch_size(name: str, value: Any) -> int | str:
    # The harness also writes auto:N, N being how often it re-estimates; there is nothing to estimate here.
    return "auto" if str(value).split(":")[0] == "auto" else values.integer(name, value, 1)


def _dtype(name: str, value: Any) -> str:
    return values.choice(name, str(value).removeprefix("torch."), ("auto", "bfloat16", "float16", "float32"))


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{name} must be a mapping from names to values, got {value!r}; write --model_args as JSON: "
            f'\'{{"pretrained": "...", "{name}": {{"name": "value"}}}}\'.'
        )
    return dict(value)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "pretrained": _text,
    "revision": _text,  # a numeric one arrives as a number
    "peft": _text,
    "dtype": _dtype,
    "device": _text,
    "device_map": lambda name, value: value,
    "mask_token_id": lambda name, value: values.integer(name, value, 0),
    "family": _text,
    "grid_block": lambda name, value: values.integer(name, value, 1),
    "batch_size": _batch_size,
    "max_batch_size": lambda name, value: values.integer(name, value, 1),
    "trust_remote_code": values.flag,
    "enable_thinking": values.flag,
    "chat_template_args": _mapping,
    "journal": _text,
    "record_steps": _text,
    "task_stats": values.flag,
}
