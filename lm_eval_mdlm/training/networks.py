"""Trainable networks from checkpoints or from a configuration."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..backbones.backbone import SpecialTokens
from ..canvas.encoding import TextEncoder
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.families.family import Architecture, Family
from ..checkpoints.families.known import family_of
from ..checkpoints.network import read_network
from ..checkpoints.packaged import DEMO, checkpoint_dir
from ..checkpoints.raw_config import RawConfig
from ..checkpoints.tokenizer import load_tokenizer, special_tokens
from ..checkpoints.weights import check_weights
from ..errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a run starts from, before any weight is read: a checkpoint's configuration and tokenizer."""

    checkpoint: Checkpoint
    family: Family
    architecture: Architecture
    tokenizer: PreTrainedTokenizerBase
    tokens: SpecialTokens

    @classmethod
    def open(cls, name: str, revision: str | None = None) -> "Source":
        """Of a folder, a hub id, or `demo` for the packaged checkpoint.

        Raises:
            UsageError: For a checkpoint that cannot be used, and for one without tokenizer or mask token.
        """
        checkpoint = Checkpoint.open(str(checkpoint_dir()) if name == DEMO else name, revision)
        raw = RawConfig.read(checkpoint.folder)
        family = family_of(raw)
        if family.encoder:
            raise UsageError(f"{name} is an encoder, and training is for decoders such as LLaDA and Dream; take one.")
        architecture = family.architecture(raw)
        if raw.values.get("quantization_config") is not None:
            raise UsageError(
                f"{raw.path}: quantised weights are neither trained nor merged; give the checkpoint that is not "
                f"quantised."
            )
        tokenizer = load_tokenizer(checkpoint.folder, family)
        if tokenizer is None:
            raise UsageError(f"{name} has no tokenizer files; training needs them, copy them beside config.json.")
        tokens = special_tokens(raw, tokenizer, vocab_size=architecture.config.vocab_size, family=family)
        architecture.config._attn_implementation = "sdpa"
        return cls(checkpoint=checkpoint, family=family, architecture=architecture, tokenizer=tokenizer, tokens=tokens)

    @property
    def encoder(self) -> TextEncoder:
        """Encodes text, and never to the mask, as prompts and templates are."""
        return TextEncoder(self.tokenizer, self.tokens.mask_token_id)

    @property
    def max_length(self) -> int:
        """Longest canvas in tokens."""
        return int(self.architecture.config.max_position_embeddings)

    def outline(self) -> Any:
        """The network without memory for its weights: shapes alone."""
        with torch.device("meta"):
            return self.architecture.network(self.architecture.config)

    def load(self, dtype: torch.dtype, *, random_weights: bool = False) -> "TrainableNetwork":
        """The network on the CPU, in training mode; `random_weights` are drawn from torch's generator.

        Raises:
            UsageError: For weights that are missing, damaged or not those of the configuration.
        """
        if random_weights:
            network = self.architecture.network(self.architecture.config).to(dtype)
        else:
            self.checkpoint.fetch_weights()
            folder = self.checkpoint.folder
            check_weights(folder, self.architecture)
            network = read_network(folder, self.architecture, dtype=dtype, attention="sdpa")
        if self.architecture.float32_rope:
            # Rotations are computed in the dtype of what the table is asked for; see Backbone's float32_rope.
            network.model.rotary_emb.register_forward_pre_hook(lambda module, args: (args[0].float(), *args[1:]))
        return TrainableNetwork(network=network.train(), source=self)


@dataclass(frozen=True, kw_only=True)
class TrainableNetwork:
    """A network in transformers' own class, and what it was made from."""

    network: Any
    """A causal-LM class of transformers that attends both ways, or its peft wrapper."""
    source: Source

    @property
    def shift(self) -> bool:
        """Token i is predicted from state i - 1."""
        return self.source.family.shift


def with_lora(network: nn.Module, *, rank: int, alpha: float) -> nn.Module:
    """The same network with low-rank adapters on every linear layer but the head; all else is frozen."""
    from peft import LoraConfig, get_peft_model

    adapters = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0)
    with _without_warning_of_old_names():
        wrapped: nn.Module = get_peft_model(network, adapters)  # type: ignore[arg-type]
    return wrapped


@contextlib.contextmanager
def _without_warning_of_old_names() -> Iterator[None]:
    # peft reads an attribute that transformers has renamed; users can do nothing about that.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield


def with_adapter(trained: TrainableNetwork, folder: Path) -> TrainableNetwork:
    """A network with the adapters that an earlier run has saved.

    Raises:
        UsageError: If the folder holds no adapter, or one of another network.
    """
    require_peft("an adapter")
    from peft import PeftModel

    if not (folder / "adapter_config.json").is_file():
        raise UsageError(f"--adapter {folder} must hold adapter_config.json; give the folder OUT/adapter of a run.")
    try:
        with _without_warning_of_old_names():
            return replace(trained, network=PeftModel.from_pretrained(trained.network, str(folder)))
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"--adapter {folder} does not fit {trained.source.checkpoint.pretrained}: {reason[:200]}; give the "
            "--pretrained that it was trained on."
        ) from None


def require_peft(what: str) -> None:
    """UsageError if the package peft is not there."""
    try:
        import peft  # noqa: F401
    except ImportError:
        raise UsageError(f"{what} needs the package peft, and it is not installed; pip install peft.") from None
