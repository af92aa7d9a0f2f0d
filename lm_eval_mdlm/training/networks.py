"""Trainable networks from checkpoints or from a configuration, and back into the layout they came in."""

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..backbones.backbone import SpecialTokens
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.families.family import Architecture
from ..checkpoints.families.known import family_of
from ..checkpoints.families.llada import BLOCK_PARTS
from ..checkpoints.raw_config import RawConfig
from ..checkpoints.tokenizer import load_tokenizer, special_tokens
from ..checkpoints.weights import check_weights, refuse_differences
from ..errors import UsageError


COPIED = ("*.json", "merges.txt", "*.jinja")
"""Files beside the weights that a saved checkpoint takes over from the one it started from."""


@dataclass(frozen=True, kw_only=True)
class TrainableNetwork:
    """A network in transformers' own class, with what is needed to train and to save it."""

    network: Any
    """A causal-LM class of transformers that attends both ways, or its peft wrapper."""
    tokenizer: PreTrainedTokenizerBase
    tokens: SpecialTokens
    folder: Path
    """Where config.json and the tokenizer are."""
    family: str
    shift: bool
    """Token i is predicted from state i - 1."""

    @property
    def max_length(self) -> int:
        """Longest canvas in tokens."""
        return int(self.network.config.max_position_embeddings)


def load_network(
    source: str, *, random_weights: bool, dtype: torch.dtype, revision: str | None = None
) -> TrainableNetwork:
    """A network on the CPU, in training mode.

    Args:
        source: Folder or hub id; with `random_weights` only its config.json and tokenizer are used.
        random_weights: Draw new weights from torch's generator instead of loading.
        dtype: Of the weights.
        revision: Branch, tag or commit of a hub id.

    Raises:
        UsageError: For a checkpoint that cannot be used, and for one without tokenizer or mask token.
    """
    checkpoint = Checkpoint.open(source, revision)
    raw = RawConfig.read(checkpoint.folder)
    family = family_of(raw)
    architecture = family.architecture(raw)
    tokenizer = load_tokenizer(checkpoint.folder, family)
    if tokenizer is None:
        raise UsageError(f"{source} has no tokenizer files; training needs them, copy them beside config.json.")
    tokens = special_tokens(raw, tokenizer, vocab_size=architecture.config.vocab_size, turn_end=family.turn_end)
    architecture.config._attn_implementation = "sdpa"
    if random_weights:
        network = architecture.network(architecture.config).to(dtype)
    else:
        checkpoint.fetch_weights()
        check_weights(checkpoint.folder, architecture)
        network = _with_weights(checkpoint.folder, architecture, dtype)
    if architecture.float32_rope:
        # Rotations are computed in the dtype of what the table is asked for; see Backbone's float32_rope.
        network.model.rotary_emb.register_forward_pre_hook(lambda module, args: (args[0].float(), *args[1:]))
    return TrainableNetwork(
        network=network.train(),
        tokenizer=tokenizer,
        tokens=tokens,
        folder=checkpoint.folder,
        family=family.name,
        shift=family.shift,
    )


def _with_weights(folder: Path, architecture: Architecture, dtype: torch.dtype) -> Any:
    network, report = architecture.network.from_pretrained(
        str(folder),
        config=architecture.config,
        key_mapping=dict(architecture.key_mapping),
        dtype=dtype,
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    tied = {"lm_head.weight"} if network.config.tie_word_embeddings else set()
    refuse_differences(
        folder,
        missing=sorted(set(report["missing_keys"]) - tied),
        unexpected=report["unexpected_keys"],
        mismatched=report["mismatched_keys"],
    )
    return network


def hub_name(native: str, family: str) -> str:
    """The name under which the family's checkpoints hold a weight of the native network."""
    if family != "LLaDA":
        return native
    outer = {
        "model.embed_tokens.": "model.transformer.wte.",
        "model.norm.": "model.transformer.ln_f.",
        "lm_head.": "model.transformer.ff_out.",
    }
    for ours, theirs in outer.items():
        if native.startswith(ours):
            return theirs + native.removeprefix(ours)
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", native)
    assert match, f"{native} is no weight of a Llama network"
    part = next(theirs for theirs, ours in BLOCK_PARTS.items() if ours == match[2])
    return f"model.transformer.blocks.{match[1]}.{part}.{match[3]}"


def save_checkpoint(trained: TrainableNetwork, out: Path, *, dtype: torch.dtype) -> None:
    """Write what `pretrained=` loads: config.json, safetensors under the family's own names, tokenizer files."""
    network = trained.network
    if not isinstance(network, PreTrainedModel):
        network = network.merge_and_unload()
    weights: dict[str, Tensor] = {
        hub_name(name, trained.family): weight.detach().to("cpu", dtype).contiguous()
        for name, weight in network.state_dict().items()
        if not (name == "lm_head.weight" and network.config.tie_word_embeddings)
    }
    out.mkdir(parents=True, exist_ok=True)
    save_torch_state_dict(weights, out, max_shard_size="5GB")
    for pattern in COPIED:
        for path in trained.folder.glob(pattern):
            if not path.name.endswith(".index.json"):
                shutil.copyfile(path, out / path.name)


def with_lora(trained: TrainableNetwork, *, rank: int, alpha: float) -> TrainableNetwork:
    """The same network with low-rank adapters on every linear layer but the head; all else is frozen."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UsageError("--lora-rank needs the package peft, and it is not installed; pip install peft.") from None

    adapters = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0)
    network: nn.Module = get_peft_model(trained.network, adapters)
    return replace(trained, network=network)
